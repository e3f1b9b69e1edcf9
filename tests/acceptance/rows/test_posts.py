"""The rows of posts: what each job leaves in the three stores, and tells."""

from uuid import UUID, uuid4

import pytest

from tests.fixtures.service import Ended, Service

SHOWN = {"id", "author_id", "title", "published", "created_at", "updated_at"}


@pytest.fixture
def post(service: Service, user: UUID) -> UUID:
    return service.job("posts.create", {"author_id": user, "title": "Draft", "content": "of brass"}).id


def is_everywhere(service: Service, post: UUID, ended: Ended, title: str, content: str, *, published: bool) -> bool:
    """Whether row, document, result and event agree."""
    row, document = service.row("posts", post), service.document("posts", post)
    assert ended.data["post"].keys() == SHOWN
    assert ended.event["data"] == ended.data
    assert ended.event["subject"] == f"posts/{post}"
    assert document["author_id"] == str(row["author_id"]) == ended.data["post"]["author_id"]
    assert not document["deleted"]
    both = [(found["title"], found["content"], found["published"]) for found in (row, document)]
    shown = ended.data["post"]
    return both == [(title, content, published)] * 2 and (shown["title"], shown["published"]) == (title, published)


@pytest.mark.row("posts.create")
def test_a_new_post_is_a_row_and_a_document(service: Service, user: UUID) -> None:
    ended = service.job("posts.create", {"author_id": user, "title": "One", "content": "text", "published": True})

    assert is_everywhere(service, ended.id, ended, "One", "text", published=True)


@pytest.mark.row("posts.update")
def test_a_changed_post_changes_where_it_was_told_to(service: Service, post: UUID) -> None:
    ended = service.job("posts.update", {"id": post, "title": "Better"})

    assert is_everywhere(service, post, ended, "Better", "of brass", published=False)


@pytest.mark.row("posts.publish")
def test_a_published_post_is_published(service: Service, post: UUID) -> None:
    ended = service.job("posts.publish", {"id": post})

    assert is_everywhere(service, post, ended, "Draft", "of brass", published=True)


@pytest.mark.row("posts.delete")
def test_a_deleted_post_leaves_a_tombstone(service: Service, post: UUID) -> None:
    ended = service.job("posts.delete", {"id": post})

    assert service.row("posts", post) == {}
    assert service.document("posts", post).pop("deleted") is True
    assert "Draft" not in str(service.document("posts", post))
    assert ended.data["post"]["id"] == str(post)
    assert ended.event["data"] == ended.data
    assert ended.event["subject"] == f"posts/{post}"


@pytest.mark.row("posts.search")
def test_posts_are_found_with_their_author_and_not_broadcast(service: Service) -> None:
    word = f"w{uuid4().hex}"
    names = [f"{word} 100%_O'Brien", f"{word} 1000xOBrien"]
    authors = [service.job("users.create", {"name": name, "email": f"{uuid4()}@example.org"}).id for name in names]
    for author in authors:
        for title, published in (("B", True), ("A", True), ("C", False)):
            service.job(
                "posts.create", {"author_id": author, "title": title, "content": word, "published": published}
            )

    found = service.job(
        "posts.search",
        {"text": word, "published": True, "author_name_contains": "100%_o'b", "order": "title", "limit": 1},
    )
    newest = service.job("posts.search", {"text": word, "skip": 1})

    assert found.data["total"] == 2
    ((shown),) = found.data["posts"]
    assert (shown["title"], shown["published"]) == ("A", True)
    assert shown["author"] == {"id": str(authors[0]), "name": names[0]}
    assert [(one["title"], one["author"]["id"]) for one in newest.data["posts"]] == [
        *(("A", str(authors[1])), ("B", str(authors[1]))),
        *((title, str(authors[0])) for title in "CAB"),
    ]
    assert newest.data["total"] == 6
    assert [one.event["data"] for one in (found, newest)] == [None, None]
    assert found.event["subject"] == f"jobs/{found.id}"
