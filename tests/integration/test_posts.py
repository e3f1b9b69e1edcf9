"""Posts: written with their author or later, changed, published and removed; their documents follow."""

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.fixtures.jobs import Bank, Runner, message
from worker.execution import batch
from worker.execution.attempt import Ending


def do(bank: Bank, task: str, **payload: Any) -> Ending:
    (ending,) = bank.run(message(task, payload))
    return ending


def code(ending: Ending) -> str:
    return str(ending.data["code"]) if ending.outcome == "rejected" else str(ending.outcome)


def write(bank: Bank, author: UUID, title: str = "Notes", **payload: Any) -> UUID:
    ending = do(bank, "posts.create", author_id=author, title=title, **payload)
    return UUID(ending.data["post"]["id"])


def document(bank: Bank, post: UUID | str) -> dict[str, Any]:
    found = bank.run.given.documents.posts.find_one({"_id": str(post)})
    assert found is not None
    return found


def count(bank: Bank) -> int:
    return int(bank.value("SELECT count(*) FROM posts"))


def newcomer(*titles: str, email: str | None = None) -> dict[str, Any]:
    posts = [{"title": title, "content": f"about {title}", "published": True} for title in titles]
    return {"name": "Ada", "email": email or f"{uuid4()}@example.org", "posts": posts}


def test_a_user_comes_with_posts_in_their_order(bank: Bank) -> None:
    ending = do(bank, "users.create", **newcomer("One", "Two"))

    user, posts = ending.data["user"], ending.data["posts"]
    assert [(post["title"], post["published"], post["author_id"]) for post in posts] == [
        ("One", True, user["id"]),
        ("Two", True, user["id"]),
    ]
    assert [document(bank, post["id"])["content"] for post in posts] == ["about One", "about Two"]
    bank.check()


def test_a_user_who_is_refused_leaves_no_posts(bank: Bank) -> None:
    taken = newcomer("Kept")
    do(bank, "users.create", **taken)

    endings = bank.run(
        message("users.create", newcomer("Before")),
        message("users.create", newcomer("Refused", email=taken["email"].upper())),
        message("users.create", newcomer("After")),
    )

    assert [code(ending) for ending in endings] == ["succeeded", "email_taken", "succeeded"]
    titles = bank.rows("SELECT title FROM posts ORDER BY title")
    assert [row.title for row in titles] == ["After", "Before", "Kept"]
    bank.check()


def test_one_wrong_post_refuses_the_user_and_the_others(bank: Bank) -> None:
    ending = do(bank, "users.create", **newcomer("Fine", ""))

    assert (code(ending), ending.data["field"]) == ("invalid_payload", "posts.1.title")
    assert (count(bank), bank.value("SELECT count(*) FROM users")) == (0, 0)


def test_a_user_who_is_sent_again_has_each_post_once(bank: Bank) -> None:
    sent = message("users.create", newcomer("One", "Two"))

    first, again, later = *bank.run(sent, sent), *bank.run(sent)

    assert first.data == again.data == later.data
    assert count(bank) == 2
    bank.check()


def test_the_largest_newcomer_fits_into_a_result(bank: Bank) -> None:
    posts = [{"title": "\u0001" * 200, "content": "x" * 9_000}] * 20

    ending = do(bank, "users.create", name="\u0001" * 200, email=f"{uuid4()}@example.org", posts=posts)

    assert ending.outcome == "succeeded"


def test_what_is_given_changes_and_the_rest_stays(bank: Bank) -> None:
    post = write(bank, bank.user(), "Draft", content="to do")

    do(bank, "posts.update", id=post, title="Better")
    ending = do(bank, "posts.update", id=post, content="done")

    assert (ending.data["post"]["title"], document(bank, post)["content"]) == ("Better", "done")
    assert ending.data["post"]["published"] is False
    bank.check()


def test_a_post_is_published_once_and_taken_back_by_an_update(bank: Bank) -> None:
    post = write(bank, bank.user())

    first, second = do(bank, "posts.publish", id=post), do(bank, "posts.publish", id=post)
    taken_back = do(bank, "posts.update", id=post, published=False)

    assert first.data == second.data
    assert [ending.data["post"]["published"] for ending in (first, taken_back)] == [True, False]
    bank.check()


def test_a_deleted_post_is_gone_everywhere(bank: Bank) -> None:
    post = write(bank, bank.user(), "Gone")

    ending = do(bank, "posts.delete", id=post)

    assert ending.data["post"]["title"] == "Gone"
    assert (count(bank), document(bank, post)["deleted"]) == (0, True)
    again = [do(bank, f"posts.{task}", id=post) for task in ("update", "publish", "delete")]
    assert [code(each) for each in again] == ["post_not_found"] * 3
    bank.check()


def test_two_who_delete_a_post_in_one_batch_delete_it_once(bank: Bank) -> None:
    post, other = write(bank, bank.user()), write(bank, bank.user())

    endings = bank.run(*(message("posts.delete", {"id": each}) for each in (post, post, other)))

    assert [code(ending) for ending in endings] == ["succeeded", "post_not_found", "succeeded"]
    bank.check()


def test_nobody_writes_who_does_not_exist(bank: Bank) -> None:
    assert code(do(bank, "posts.create", author_id=uuid4(), title="Ghost")) == "user_not_found"


@pytest.mark.parametrize("had_account", [False, True], ids=["removed", "anonymised"])
def test_a_user_who_goes_takes_the_posts_along(bank: Bank, had_account: bool) -> None:  # noqa: FBT001 - a parameter
    user, other = bank.user(), bank.user()
    posts, kept = [write(bank, user) for _ in range(3)], write(bank, other)
    if had_account:
        do(bank, "accounts.close", id=bank.open(owner=user))

    ending = do(bank, "users.delete", id=user)

    assert ending.data["anonymised"] is had_account
    assert [document(bank, post)["deleted"] for post in [*posts, kept]] == [True, True, True, False]
    assert [row.id for row in bank.rows("SELECT id FROM posts")] == [kept]
    assert code(do(bank, "posts.create", author_id=user, title="Late")) == "user_not_found"


def test_a_user_with_an_open_account_keeps_the_posts(bank: Bank) -> None:
    user = bank.user()
    post = write(bank, user)
    bank.open(owner=user)

    assert code(do(bank, "users.delete", id=user)) == "user_has_accounts"
    assert document(bank, post)["deleted"] is False
    bank.check()


def test_authors_who_go_while_their_posts_are_written_and_changed_leave_nothing_behind(bank: Bank) -> None:
    users = [bank.user() for _ in range(6)]
    posts = [write(bank, user) for user in users for _ in range(5)]
    work = [
        [message("users.delete", {"id": user}) for user in users],
        [message("posts.create", {"author_id": user, "title": "Late"}) for user in users * 5],
        [message("posts.update", {"id": post, "title": "Changed"}) for post in reversed(posts)],
    ]

    endings = together(bank.run, work)
    bank.deliver_all()

    assert {code(ending) for ending in endings} <= {"succeeded", "user_not_found", "post_not_found"}
    assert (count(bank), bank.value("SELECT count(*) FROM users")) == (0, 0)
    bank.check()


def together(run: Runner, work: list[list[Any]]) -> list[Ending]:
    """Run each list as a batch in a thread of its own, all at once."""
    endings: list[Ending] = []
    start = threading.Barrier(len(work))

    def one(messages: list[Any]) -> None:
        start.wait(10)
        endings.extend(attempt.ended for attempt in batch.run(messages[0].task, messages, run.given).attempts)

    threads = [threading.Thread(target=one, args=(messages,)) for messages in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(endings) == sum(map(len, work))
    return endings


@pytest.mark.parametrize("letters", ["\U0001f600 ", "a-", "x.y/", "ÿ'\"", "İ", "Ω-"], ids=ascii)
def test_the_longest_content_is_taken_in_any_letters(bank: Bank, letters: str) -> None:
    content = (letters * 50_000)[:50_000]

    post = write(bank, bank.user(), content=content)

    assert document(bank, post)["content"] == content
    bank.check()


@pytest.mark.parametrize(
    ("task", "wrong", "field"),
    [
        ("create", {"title": ""}, "title"),
        ("create", {"title": "x" * 201}, "title"),
        ("create", {"content": "x" * 50_001}, "content"),
        ("create", {"content": None}, "content"),
        ("create", {"published": "yes"}, "published"),
        ("create", {"author_id": "Ada"}, "author_id"),
        ("create", {"words": "brass"}, "words"),
        ("update", {"title": ""}, "title"),
        ("update", {"author_id": "5d9f2c6e-0a57-4a39-8a1e-3f0b7c6d1e2a"}, "author_id"),
        ("publish", {"published": False}, "published"),
        ("delete", {"id": 1}, "id"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_a_post_is_refused_with_its_field(
    bank: Bank, task: str, wrong: dict[str, Any], field: str
) -> None:
    right = {"author_id": uuid4(), "title": "Notes"} if task == "create" else {"id": uuid4()}

    ending = do(bank, f"posts.{task}", **(right | wrong))

    assert (code(ending), ending.data["field"]) == ("invalid_payload", field)


def test_nobody_brings_more_than_twenty_posts(bank: Bank) -> None:
    ending = do(bank, "users.create", **newcomer(*"ABCDEFGHIJKLMNOPQRSTU"))

    assert (code(ending), ending.data["field"]) == ("invalid_payload", "posts")
