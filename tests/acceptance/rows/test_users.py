"""The rows of users: what each job leaves in the three stores, and tells."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.fixtures.service import Ended, Service


def newcomer(service: Service, name: str = "Ada") -> tuple[UUID, str]:
    """A user, and the address."""
    email = f"{uuid4()}@example.org"
    ended = service.job("users.create", {"name": name, "email": email})
    return ended.id, email


def without_address(data: dict[str, Any]) -> dict[str, Any]:
    """What of a result may be in an event."""
    return data | {"user": {name: value for name, value in data["user"].items() if name != "email"}}


def told(ended: Ended, email: str) -> bool:
    """Whether an event tells a result, without the address."""
    assert email not in json.dumps(ended.event)
    return bool(ended.event["data"] == without_address(ended.data))


@pytest.mark.row("users.create")
def test_a_new_user_comes_with_posts_and_without_the_address_in_the_event(service: Service) -> None:
    email = f"{uuid4()}@example.org"
    posts = [{"title": "One", "content": "of brass", "published": True}, {"title": "Two"}]

    ended = service.job("users.create", {"name": "Ada", "email": email, "posts": posts})

    row = service.row("users", ended.id)
    assert (row["name"], row["email"], row["active"]) == ("Ada", email, True)
    written = service.bank.rows("SELECT * FROM posts WHERE author_id = :id ORDER BY title", id=ended.id)
    assert [(post.title, post.content, post.published) for post in written] == [
        ("One", "of brass", True),
        ("Two", "", False),
    ]
    document = service.document("users", ended.id)
    assert (document["name"], document["email"], document["deleted"]) == ("Ada", email, False)
    assert [service.document("posts", post.id)["author_id"] for post in written] == [str(ended.id)] * 2
    assert ended.data.keys() == {"user", "posts"}
    assert ended.data["user"].keys() == {"id", "name", "email", "active", "created_at"}
    assert [post["id"] for post in ended.data["posts"]] == [str(post.id) for post in written]
    assert ended.event["subject"] == f"users/{ended.id}"
    assert told(ended, email)


@pytest.mark.row("users.update")
def test_a_changed_user_is_changed_everywhere_and_the_cached_copy_is_dropped(service: Service) -> None:
    user, email = newcomer(service)
    service.job("users.get", {"id": user})
    cached: Any = service.redis.get(f"user:{user}")

    ended = service.job("users.update", {"id": user, "name": "Grace", "active": False})

    assert b"Ada" in cached
    assert b"Ada" not in (service.redis.get(f"user:{user}") or b"")
    assert service.job("users.get", {"id": user}).data == ended.data
    row, document = service.row("users", user), service.document("users", user)
    assert (row["name"], row["email"], row["active"]) == ("Grace", email, False)
    assert (document["name"], document["email"], document["active"]) == ("Grace", email, False)
    assert ended.data["user"]["name"] == "Grace"
    assert ended.event["subject"] == f"users/{user}"
    assert told(ended, email)


@pytest.mark.row("users.delete")
@pytest.mark.parametrize("had_account", [False, True], ids=["without accounts", "with a closed account"])
def test_a_deleted_user_leaves_nothing_personal(service: Service, had_account: bool) -> None:  # noqa: FBT001 - a parameter
    user, email = newcomer(service, "Rosalind")
    token = uuid4().hex * 2
    post = service.job("posts.create", {"author_id": user, "title": "Last"}).id
    told = service.job("notifications.send", {"user_id": user, "kind": "greeting", "body": "hello"}).id
    service.job("sessions.open", {"token_hash": token, "user_id": user, "ttl_s": 100})
    if had_account:
        service.job("accounts.close", {"id": service.bank.open(owner=user)})

    ended = service.job("users.delete", {"id": user})

    assert ended.data == ended.event["data"] == {"id": str(user), "anonymised": had_account}
    assert ended.event["subject"] == f"users/{user}"
    row = service.row("users", user)
    assert bool(row) is had_account
    assert not {"Rosalind", email} & set(map(str, row.values()))
    tables = {"posts": "author_id", "notifications": "user_id", "users_sessions": "user_id"}
    assert [service.row(table, user, key) for table, key in tables.items()] == [{}] * 3
    for collection, key in (("users", user), ("posts", post), ("notifications", told)):
        document = service.document(collection, key)
        assert document.pop("deleted") is True
        assert not {"Rosalind", "Last", "hello", email} & set(map(str, document.values()))
    assert (service.session(token), service.redis.exists(f"user:{user}")) == ({}, 0)


@pytest.mark.row("users.get")
def test_a_user_is_read_through_the_cache_and_not_broadcast(service: Service) -> None:
    user, email = newcomer(service)

    ended, again = (service.job("users.get", {"id": user}) for _ in range(2))

    shown = ended.data["user"]
    assert (shown["id"], shown["name"], shown["email"], shown["active"]) == (str(user), "Ada", email, True)
    assert again.data == ended.data
    assert 0 < int(service.redis.ttl(f"user:{user}")) <= 60
    assert (ended.event["data"], ended.event["subject"]) == (None, f"jobs/{ended.id}")


@pytest.mark.row("users.list")
def test_a_page_of_users_is_ordered_filtered_counted_and_not_broadcast(service: Service) -> None:
    first, second, third = (newcomer(service, name)[0] for name in ("AAC", "AAA", "AAB"))
    service.job("users.update", {"id": third, "active": False})
    there = service.bank.value("SELECT count(*) FROM users WHERE deleted_at IS NULL")

    newest = service.job("users.list", {"limit": 3})
    by_name = service.job("users.list", {"order": "name", "limit": 2, "skip": 1})
    inactive = service.job("users.list", {"active": False, "limit": 1})

    assert [user["id"] for user in newest.data["users"]] == [str(third), str(second), str(first)]
    assert [user["name"] for user in by_name.data["users"]] == ["AAB", "AAC"]
    assert [user["id"] for user in inactive.data["users"]] == [str(third)]
    assert newest.data["total"] == there
    assert len(service.job("users.list", {}).data["users"]) == min(10, there)
    assert (newest.event["data"], newest.event["subject"]) == (None, f"jobs/{newest.id}")
