"""Notifications: kept, told live, read once, limited for each user, and gone with the user."""

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.fixtures.copies import notifications_read
from tests.fixtures.jobs import Bank, message
from tests.fixtures.refusing import MISSING, changed, refused
from worker.execution.attempt import Ending


def send(bank: Bank, user: UUID, count: int = 1, body: str = "hello") -> list[Ending]:
    payload = {"user_id": user, "kind": "greeting", "body": body}
    return bank.run(*(message("notifications.send", payload) for _ in range(count)))


def mark_read(bank: Bank, user: UUID, *ids: Any) -> list[str]:
    (ending,) = bank.run(message("notifications.mark_read", {"user_id": user, "ids": ids}))
    return list(ending.data["read"])


def codes(endings: list[Ending]) -> list[str]:
    return [str(ending.data.get("code", ending.outcome)) for ending in endings]


def test_what_is_sent_is_a_document_and_whoever_listens_hears_of_it(bank: Bank) -> None:
    user, other = bank.user(), bank.user()
    redis: Any = bank.run.given.redis
    with redis.pubsub() as listener:
        listener.subscribe(f"notifications:{user}")
        assert listener.get_message(timeout=5)["type"] == "subscribe"

        (ending,) = send(bank, user)
        send(bank, other, body="for others")

        live = orjson.loads(listener.get_message(timeout=5)["data"])
        assert listener.get_message() is None
    document = bank.run.given.documents.notifications.find_one({"_id": ending.data["notification"]})
    assert document is not None
    assert {name: document[name] for name in ("user_id", "kind", "body", "read_at", "deleted")} == {
        "user_id": str(user),
        "kind": "greeting",
        "body": "hello",
        "read_at": None,
        "deleted": False,
    }
    assert (live["id"], live["kind"], live["body"]) == (document["_id"], "greeting", "hello")
    bank.check()


def test_what_a_notification_says_is_in_no_event(bank: Bank) -> None:
    send(bank, bank.user(), body="nobody else's business")

    assert "nobody else's business" not in str(bank.events())
    assert bank.events()[-1]["type"] == "notifications.send.succeeded"


def test_of_more_than_a_hundred_for_one_user_the_rest_is_refused_and_told_when_to_come_again(bank: Bank) -> None:
    user, other = bank.user(), bank.user()

    endings = send(bank, user, 102)

    assert codes(endings) == ["succeeded"] * 100 + ["rate_limited"] * 2
    assert endings[-1].data["remaining"] == 0
    assert 0 < endings[-1].data["retry_after_s"] <= 900
    assert codes(send(bank, other)) == ["succeeded"]
    assert len(notifications_read(bank.run.given)) == 101
    bank.check()


def test_what_was_refused_for_its_user_counts_towards_no_limit(bank: Bank) -> None:
    nobody = uuid4()

    assert set(codes(send(bank, nobody, 101) + send(bank, nobody))) == {"user_not_found", "rate_limited"}
    assert codes(send(bank, nobody)) == ["user_not_found"]


def test_what_is_marked_is_read_once_and_others_notifications_stay(bank: Bank) -> None:
    user, other = bank.user(), bank.user()
    mine = [ending.data["notification"] for ending in send(bank, user, 3)]
    (theirs,) = [ending.data["notification"] for ending in send(bank, other)]

    first = mark_read(bank, user, mine[0], theirs, uuid4(), mine[0])
    second = mark_read(bank, user, *mine[:2])

    assert (first, second) == ([mine[0]], [mine[1]])
    unread = {told["_id"] for told in notifications_read(bank.run.given) if told["read_at"] is None}
    assert unread == {mine[2], theirs}
    bank.check()


def test_nobody_is_told_anything_who_does_not_exist_any_more(bank: Bank) -> None:
    gone, anonymised = bank.user(), bank.user()
    bank.run(message("accounts.close", {"id": bank.open(owner=anonymised)}))
    bank.run(*(message("users.delete", {"id": user}) for user in (gone, anonymised)))

    for user in (gone, anonymised, uuid4()):
        assert codes(send(bank, user)) == ["user_not_found"]
        read = message("notifications.mark_read", {"user_id": user, "ids": [uuid4()]})
        assert codes(bank.run(read)) == ["user_not_found"]


def test_with_a_user_go_its_notifications(bank: Bank) -> None:
    user, other = bank.user(), bank.user()
    send(bank, user, 2)
    (kept,) = send(bank, other)

    bank.run(message("users.delete", {"id": user}))

    assert [told["_id"] for told in notifications_read(bank.run.given)] == [kept.data["notification"]]
    assert bank.value("SELECT count(*) FROM notifications") == 1
    assert "hello" not in str(list(bank.run.given.documents.notifications.find({"deleted": True})))


INVALID_SENDS: dict[str, tuple[dict[str, Any], str]] = {
    "no user": ({"user_id": MISSING}, "user_id"),
    "a user that is no id": ({"user_id": "ada"}, "user_id"),
    "an operator for a user": ({"user_id": {"$ne": None}}, "user_id"),
    "no kind": ({"kind": MISSING}, "kind"),
    "an empty kind": ({"kind": ""}, "kind"),
    "a kind in capitals": ({"kind": "Greeting"}, "kind"),
    "a kind with a line": ({"kind": "greeting\n"}, "kind"),
    "a kind too long": ({"kind": "k" * 65}, "kind"),
    "no body": ({"body": MISSING}, "body"),
    "an empty body": ({"body": ""}, "body"),
    "a body too long": ({"body": "b" * 4_001}, "body"),
    "a body that is no text": ({"body": {"$where": "1"}}, "body"),
    "a body with NUL": ({"body": "a\0b"}, "body"),
    "a body with half a pair": ({"body": "a\ud800b"}, "body"),
    "an unknown field": ({"priority": 1}, "priority"),
}


@pytest.mark.parametrize("what", INVALID_SENDS)
def test_what_is_no_notification_is_refused_by_its_field(bank: Bank, what: str) -> None:
    changes, field = INVALID_SENDS[what]
    valid = {"user_id": bank.user(), "kind": "greeting", "body": "hello"}

    assert refused(bank, "notifications.send", changed(valid, changes)) == ("invalid_payload", field)


@pytest.mark.parametrize(
    ("ids", "field"),
    [
        (MISSING, "ids"),
        ([], "ids"),
        ("all", "ids"),
        ([7], "ids.0"),
        ([str(uuid4()), "all"], "ids.1"),
        ([str(uuid4())] * 501, "ids"),
        ({"$gt": ""}, "ids"),
    ],
    ids=["none", "empty", "a word", "a number", "one is a word", "too many", "an operator"],
)
def test_what_are_no_ids_is_refused_by_its_field(bank: Bank, ids: Any, field: str) -> None:
    payload = changed({"user_id": bank.user(), "ids": []}, {"ids": ids})

    assert refused(bank, "notifications.mark_read", payload) == ("invalid_payload", field)
