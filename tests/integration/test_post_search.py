"""Searching posts: what fits is found, in order, with its author, in two statements; and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from tasks.posts import search
from tasks.posts.searching import TOTAL_MAX
from tests.fixtures.jobs import Bank, message


def find(bank: Bank, **asked: Any) -> dict[str, Any]:
    (ending,) = bank.run(message(search.name, asked))
    assert ending.outcome == "succeeded", ending
    return dict(ending.data)


def titles(bank: Bank, **asked: Any) -> list[str]:
    return [post["title"] for post in find(bank, **asked)["posts"]]


def author(bank: Bank, name: str, *posts: dict[str, Any]) -> UUID:
    """A user of this name with these posts, the first of them the oldest."""
    payload = {"name": name, "email": f"{uuid4()}@example.org"}
    (ending,) = bank.run(message("users.create", payload))
    user = ending.data["user"]["id"]
    for post in posts:
        bank.run(message("posts.create", {"author_id": user, **post}))
    return UUID(user)


@contextmanager
def statements(bank: Bank) -> Iterator[list[str]]:
    """Every statement that the engine is given meanwhile."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(bank.run.given.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(bank.run.given.engine, "before_cursor_execute", note)


def test_each_filter_finds_what_fits_and_all_together_what_fits_all(bank: Bank) -> None:
    author(bank, "Ada Lovelace", {"title": "Engines", "content": "of brass", "published": True}, {"title": "Notes"})
    author(bank, "Grace Hopper", {"title": "Compilers", "content": "of brass and code", "published": True})

    assert titles(bank) == ["Compilers", "Notes", "Engines"]
    assert titles(bank, published=True) == ["Compilers", "Engines"]
    assert titles(bank, published=False) == ["Notes"]
    assert titles(bank, author_name_contains="LOVE") == ["Notes", "Engines"]
    assert titles(bank, text="Brass") == ["Compilers", "Engines"]
    assert titles(bank, text="engines brass") == ["Engines"]
    assert titles(bank, published=True, author_name_contains="ada", text="brass") == ["Engines"]
    assert titles(bank, published=False, text="brass") == []


def test_a_post_comes_with_its_author_and_without_its_content(bank: Bank) -> None:
    user = author(bank, "Ada", {"title": "Engines", "content": "of brass"})

    (post,) = find(bank)["posts"]

    assert post["author"] == {"id": str(user), "name": "Ada"}
    assert sorted(post) == ["author", "created_at", "id", "published", "title", "updated_at"]


def test_pages_in_either_order_hold_every_post_once(bank: Bank) -> None:
    author(bank, "Ada", *({"title": title} for title in "CADBE"))

    newest = [titles(bank, limit=2, skip=skip) for skip in (0, 2, 4, 6)]
    by_title = [titles(bank, limit=2, skip=skip, order="title") for skip in (0, 2, 4, 6)]

    assert newest == [["E", "B"], ["D", "A"], ["C"], []]
    assert by_title == [["A", "B"], ["C", "D"], ["E"], []]
    assert {find(bank, limit=2, skip=skip)["total"] for skip in (0, 6)} == {5}


def test_posts_of_one_moment_keep_their_order_from_page_to_page(bank: Bank) -> None:
    posts = [{"title": "Same"}] * 20
    bank.run(message("users.create", {"name": "Ada", "email": "ada@example.org", "posts": posts}))

    seen = [post["id"] for skip in range(0, 20, 3) for post in find(bank, limit=3, skip=skip)["posts"]]

    assert len(set(seen)) == len(seen) == 20


@pytest.mark.parametrize(
    "name", ["100%", "snake_case", "back\\slash", "O'Brien", 'the "Duke"', "a/b", "$1", "%(x)s"]
)
def test_a_name_is_looked_for_literally(bank: Bank, name: str) -> None:
    author(bank, f"Dr {name} Jr", {"title": "Odd"})
    author(bank, "Dr 1000 snakeXcase backslash OBrien the Duke ab Jr", {"title": "Plain"})

    assert titles(bank, author_name_contains=name) == ["Odd"]


@pytest.mark.parametrize("name", ["%", "_", "\\", "'", '"', "%%", "_d_"])
def test_no_letter_of_a_name_is_a_wildcard(bank: Bank, name: str) -> None:
    author(bank, "Ada", {"title": "Plain"})

    assert titles(bank, author_name_contains=name) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("brass -code", ["Compilers"]),
        ('"code brass"', ["Compilers"]),
        ("code <-> brass", ["Compilers"]),
        ("(code & brass", ["Compilers"]),
        ("code:*'", ["Compilers"]),
        ("com:*", []),
        ("com*", []),
        ("com%", []),
        ("code | none", []),
        ("code !none", []),
    ],
)
def test_text_is_words_that_all_occur_and_none_is_an_operator(bank: Bank, text: str, found: list[str]) -> None:
    author(bank, "Ada", {"title": "Compilers", "content": "of brass and code"})

    assert titles(bank, text=text) == found


@pytest.mark.parametrize("text", ["%", "_", "'", '"', "\\", "!!", "&|", ":*", "()"])
def test_text_without_a_word_finds_nothing(bank: Bank, text: str) -> None:
    author(bank, "Ada", {"title": "Plain", "content": "% _ ' \" \\ !! :* ()"})

    assert find(bank, text=text) == {"posts": [], "total": 0}


def test_a_changed_post_is_found_by_what_it_says_now(bank: Bank) -> None:
    author(bank, "Ada", {"title": "Engines", "content": "of brass"})
    post = find(bank)["posts"][0]["id"]

    bank.run(message("posts.update", {"id": post, "content": "of steel"}))

    assert (titles(bank, text="brass"), titles(bank, text="steel")) == ([], ["Engines"])


@pytest.mark.parametrize("asked", [{}, {"author_name_contains": "a", "text": "brass", "published": False}], ids=str)
def test_a_search_takes_two_statements_however_much_it_finds(bank: Bank, asked: dict[str, Any]) -> None:
    for name in ("Ada", "Grace", "Barbara"):
        author(bank, name, *({"title": "Engines", "content": "of brass"} for _ in range(4)))
    with statements(bank) as around:
        bank.run(message("users.list", {}))

    with statements(bank) as seen:
        found = find(bank, limit=100, **asked)

    assert len(found["posts"]) == 12
    of_posts = [statement for statement in seen if "FROM posts" in statement]
    assert len(of_posts) == 2
    assert len(seen) == len(around)  # a job that reads another table, in two statements


def test_each_search_is_planned_for_what_it_asks_and_logs_can_hold_its_statements(bank: Bank) -> None:
    with statements(bank) as seen:
        for _ in range(8):
            find(bank, text="secret", author_name_contains="hopper")

    assert "posts.words" in str(seen)
    assert "secret" not in str(seen)
    assert "hopper" not in str(seen)
    assert bank.rows("SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%plainto_tsquery%'") == []


def test_no_event_tells_what_was_found(bank: Bank) -> None:
    author(bank, "Ada", {"title": "Secret plans"})

    find(bank, text="secret")

    found = [event for event in bank.events() if event["type"] == "posts.search.succeeded"]
    assert [event["data"] for event in found] == [None]


def test_what_is_found_fits_into_a_result_and_nothing_is_passed_over(bank: Bank) -> None:
    user = author(bank, "\u0001" * 200)
    long = [message("posts.create", {"author_id": user, "title": "\u0001" * 200}) for _ in range(60)]
    bank.run(*long)
    seen: list[str] = []

    while posts := find(bank, limit=100, skip=len(seen))["posts"]:
        seen += [post["id"] for post in posts]

    assert len(set(seen)) == len(seen) == 60


def test_counting_ends_at_its_limit(bank: Bank) -> None:
    user = author(bank, "Ada")
    many = """
        INSERT INTO posts (id, author_id, title, content, published, created_at, updated_at)
        SELECT gen_random_uuid(), :user, 'Engines', '', true, now(), now()
        FROM generate_series(1, :count) RETURNING 1
    """
    bank.rows(many, user=user, count=TOTAL_MAX + 1)

    totals = {find(bank, **asked)["total"] for asked in ({}, {"text": "engines"}, {"author_name_contains": "ada"})}

    assert totals == {TOTAL_MAX}
    assert len(find(bank, skip=TOTAL_MAX)["posts"]) == 1


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"skip": -1}, "skip"),
        ({"skip": TOTAL_MAX + 1}, "skip"),
        ({"order": "id; DROP TABLE posts"}, "order"),
        ({"text": ""}, "text"),
        ({"author_name_contains": ""}, "author_name_contains"),
        ({"published": "yes"}, "published"),
        ({"author": "Ada"}, "author"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused(bank: Bank, asked: dict[str, Any], field: str) -> None:
    (ending,) = bank.run(message(search.name, asked))

    assert (ending.data["code"], ending.data["field"]) == ("invalid_payload", field)
