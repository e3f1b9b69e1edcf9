import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.jobs import Bank, Runner, empty, message, settings_for
from worker.delivery import documents
from worker.delivery.due import TURN_ROWS
from worker.delivery.effects import DocumentChange
from worker.delivery.outbox import Lane, count_owed
from worker.delivery.turn import EFFECT_ATTEMPTS
from worker.errors import InvalidPayload
from worker.execution import batch
from worker.messages import Message
from worker.operations.embedded import Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources


def note(text: str, key: object) -> Message:
    return message("testing.note", {"text": text, "id": str(key)})


def found(bank: Bank, key: object) -> dict[str, Any] | None:
    return bank.run.given.documents["notes"].find_one({"_id": str(key)})


@contextmanager
def failing(given: Resources, **fault: Any) -> Iterator[None]:
    """Let MongoDB's next writes fail."""
    admin = given.mongo.admin
    data = {"failCommands": ["update"], **fault}
    admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
    yield
    admin.command("configureFailPoint", "failCommand", mode="off")


def test_whatever_the_order_of_writes_the_newest_version_stays(given: Resources) -> None:
    changes = [
        (version, DocumentChange("notes", "n", None if version % 3 == 0 else {"text": str(version)}))
        for version in range(1, 8)
    ]

    for seed in range(50):
        given.documents["notes"].delete_many({})
        order = [*random.Random(seed).choices(changes, k=12), changes[-1]]
        random.Random(seed).shuffle(order)
        for change in order:
            documents.write(given.documents, [change])

        assert given.documents["notes"].find_one() == {"_id": "n", "text": "7", "version": 7, "deleted": False}


def test_a_late_store_after_a_delete_does_not_bring_the_document_back(given: Resources) -> None:
    stored, removed = DocumentChange("notes", "n", {"text": "x"}), DocumentChange("notes", "n", None)

    documents.write(given.documents, [(2, removed)])
    documents.write(given.documents, [(1, stored)])

    assert given.documents["notes"].find_one() == {"_id": "n", "version": 2, "deleted": True}


def test_within_one_write_the_newest_of_a_document_wins(given: Resources) -> None:
    changes = [(version, DocumentChange("notes", "n", {"text": str(version)})) for version in (3, 1, 2)]

    assert documents.write(given.documents, changes) == {}

    assert given.documents["notes"].find_one() == {"_id": "n", "text": "3", "version": 3, "deleted": False}


@pytest.mark.parametrize(
    "fault",
    [
        {"errorCode": 91},
        {"errorCode": 189},
        {"closeConnection": True},
        {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}},
    ],
)
def test_a_store_in_trouble_delays_documents_and_events_and_counts_no_attempt(
    bank: Bank, fault: dict[str, Any]
) -> None:
    # Retryable writes hide one failure; a bulk write that was applied in spite of the error is applied again.
    alice, bob = bank.open(100), bank.open(100)

    with failing(bank.run.given, **fault):
        bank.run(message("accounts.transfer", {"source": alice, "target": bob, "amount": 1}))
    attempts = bank.rows("SELECT attempts FROM trivet.outbox")
    bank.deliver_all()

    assert {row.attempts for row in attempts} <= {0}
    bank.check()


def test_a_document_that_can_never_be_written_is_parked_and_its_neighbours_are_not_harmed(bank: Bank) -> None:
    database = bank.run.given.documents
    database.drop_collection("notes")
    database.create_collection("notes", validator={"text": {"$ne": "never"}})
    bad, good = uuid4(), uuid4()

    bank.run(note("never", bad), note("fine", good))
    bank.run(note("later", bad))
    database.drop_collection("notes")

    parked = bank.rows("SELECT subject, error FROM trivet.outbox WHERE parked_at IS NOT NULL")
    assert [row.subject for row in parked] == [f"notes/{bad}"]
    assert "validation" in parked[0].error
    assert bank.value("SELECT count(*) FROM trivet.outbox") == 1
    assert sorted(event["subject"] for event in bank.events()) == sorted([f"notes/{good}", f"notes/{bad}"])


def test_an_effect_that_fails_waits_and_holds_back_only_its_own_subject(bank: Bank) -> None:
    notes = bank.run.given.documents["notes"]
    notes.create_index("text", unique=True)
    first, second, third = uuid4(), uuid4(), uuid4()
    bank.run(note("taken", first))

    bank.run(note("taken", second), note("free", third))
    bank.run(note("after", second))
    waiting = bank.rows("SELECT subject, attempts, due_at IS NULL AS due FROM trivet.outbox ORDER BY id")
    notes.drop_indexes()
    bank.rows("UPDATE trivet.outbox SET due_at = now() WHERE due_at IS NOT NULL RETURNING id")
    bank.deliver_all()

    assert [(row.subject, row.attempts, row.due) for row in waiting] == [
        (f"notes/{second}", 1, False),
        (f"notes/{second}", 0, True),
    ]
    assert (found(bank, third) or {})["text"] == "free"
    assert (found(bank, second) or {})["text"] == "after"
    subjects = [event["subject"] for event in bank.events()]
    assert subjects == [f"notes/{first}", f"notes/{third}", f"notes/{second}", f"notes/{second}"]
    bank.check_events()


def test_an_effect_that_keeps_failing_is_parked_in_the_end(bank: Bank) -> None:
    notes = bank.run.given.documents["notes"]
    notes.create_index("text", unique=True)
    bank.run(note("taken", uuid4()))
    bank.run(note("taken", uuid4()))

    for _ in range(EFFECT_ATTEMPTS - 1):
        bank.rows("UPDATE trivet.outbox SET due_at = now() RETURNING id")
        bank.run.deliver_all()
    notes.drop_indexes()

    (row,) = bank.rows("SELECT attempts, parked_at FROM trivet.outbox")
    assert row.attempts == EFFECT_ATTEMPTS
    assert row.parked_at is not None


def test_a_redis_effect_that_fails_by_itself_waits_and_others_go(bank: Bank) -> None:
    redis = bank.run.given.redis
    job_id = uuid4()
    redis.lpush(f"celery-task-meta-{job_id}", "a list, where a result belongs")
    good = message("users.create", {"name": "B", "email": "b@example.org"}, want_result=True)

    bank.run(message("users.create", {"name": "A", "email": "a@example.org"}, job_id, want_result=True), good)

    # SET replaces whatever is there: Redis refuses it only when it refuses everything.
    assert redis.exists(f"celery-task-meta-{good.task_id}")
    bank.check()


def test_more_than_one_turn_can_carry_is_delivered_all_the_same(bank: Bank) -> None:
    count = TURN_ROWS + 200
    account = bank.open(0)
    payload = {"account": account, "amount": 1}

    bank.run(*(message("accounts.deposit", payload) for _ in range(count)))

    assert len(bank.events()) == count + 2
    bank.check()


def test_what_is_owed_is_counted_no_further_than_asked(bank: Bank, given: Resources) -> None:
    jobs = [message("accounts.deposit", {"account": account, "amount": 1}) for account in bank.open_many(3, 0)]
    batch.run("accounts.deposit", jobs, given)

    with given.engine.begin() as connection:
        counted = [count_owed(connection, most) for most in (2, 3, 9)]

    assert counted == [2, 3, 3]


def test_while_mongodb_is_away_jobs_and_results_go_on_and_documents_follow(own_servers: Stack) -> None:
    given = Resources.open(settings_for(own_servers.urls))
    migrate(given)
    empty(given)
    bank = Bank(Runner(given))
    alice, bob = bank.open(100), bank.open(100)
    own_servers.mongo.kill()

    transfer = message("accounts.transfer", {"source": alice, "target": bob, "amount": 1}, want_result=True)
    (ending,) = bank.run(transfer)
    owed = bank.rows("SELECT lane, attempts FROM trivet.outbox")
    result = given.redis.exists(f"celery-task-meta-{transfer.task_id}")
    own_servers.mongo.start()
    bank.deliver_all()

    assert ending.outcome == "succeeded"
    assert [(row.lane, row.attempts) for row in owed] == [(Lane.DOCUMENTS, 0)]
    assert result
    bank.check()
    bank.run.node.close()
    given.close()


def test_while_redis_is_away_jobs_go_on_and_events_follow(own_servers: Stack) -> None:
    given = Resources.open(settings_for(own_servers.urls))
    migrate(given)
    bank = Bank(Runner(given))
    alice, bob = bank.open(100), bank.open(100)
    own_servers.redis.kill()

    (ending,) = bank.run(message("accounts.transfer", {"source": alice, "target": bob, "amount": 1}))
    own_servers.redis.start()
    bank.deliver_all()

    assert ending.outcome == "succeeded"
    bank.check()
    bank.run.node.close()
    given.close()


@pytest.mark.parametrize("name", ["", "a..b", ".a", "x$y", "system.users", "ü"])
def test_a_name_that_no_collection_can_have_is_refused_before_it_is_owed(name: str) -> None:
    with pytest.raises(InvalidPayload, match="cannot be the name of a collection"):
        DocumentChange(name, "n", {}).to_bson()


@pytest.mark.parametrize("name", ["notes", "documents.notes", "a_b-c.D2"])
def test_an_ordinary_name_of_a_collection_is_taken(name: str) -> None:
    assert DocumentChange.from_bson(DocumentChange(name, "n", {}).to_bson()).collection == name


def test_a_collection_that_cannot_be_harms_no_other(given: Resources) -> None:
    """One that an older version owed: it was not refused then."""
    impossible, fine = DocumentChange("a..b", "n", {"text": "x"}), DocumentChange("notes", "n", {"text": "y"})

    wrong = documents.write(given.documents, [(1, impossible), (2, fine)])

    assert [(version, failure.final) for version, failure in wrong.items()] == [(1, True)]
    assert given.documents["notes"].count_documents({"version": 2}) == 1


def refusing(given: Resources) -> None:
    """Let MongoDB refuse for good each note whose text is "never"."""
    given.documents.drop_collection("notes")
    given.documents.create_collection("notes", validator={"text": {"$ne": "never"}})


def test_a_row_of_many_documents_waits_for_each_of_them(given: Resources) -> None:
    refusing(given)
    old, never = (DocumentChange("notes", "a", {"text": text}) for text in ("old", "never"))
    other = DocumentChange("notes", "b", {})

    wrong = documents.write(
        given.documents, [(1, old), (1, other), (2, never), (2, DocumentChange("notes", "c", {}))]
    )
    given.documents.drop_collection("notes")

    assert {version: failure.final for version, failure in wrong.items()} == {1: False, 2: True}


def test_of_new_and_old_documents_in_one_write_each_failure_is_told_of_its_own(given: Resources) -> None:
    refusing(given)
    notes = given.documents["notes"]
    notes.insert_many([{"_id": f"n{number}", "version": 1, "deleted": False} for number in (0, 1, 4)])

    changes = [
        (10 + number, DocumentChange("notes", f"n{number}", {"text": "never" if number % 3 == 2 else "x"}, new=new))
        for number, new in enumerate([True, False, True, True, True, False, False, True])
    ]
    wrong = documents.write(
        given.documents, [*changes, (0, DocumentChange("notes", "n4", {"text": "x"}, new=True))]
    )
    written = {copy["_id"]: copy["version"] for copy in notes.find()}
    given.documents.drop_collection("notes")

    assert wrong.keys() == {12, 15}
    assert written == {f"n{number}": 10 + number for number in (0, 1, 3, 4, 6, 7)}


def test_a_new_document_that_comes_late_or_twice_changes_nothing(given: Resources) -> None:
    notes = given.documents["notes"]
    notes.create_index("text", unique=True)
    new = DocumentChange("notes", "n", {"text": "first"}, new=True)

    for newer in (
        (1, new),
        (2, DocumentChange("notes", "n", {"text": "second"})),
        (3, DocumentChange("notes", "n", None)),
    ):
        assert documents.write(given.documents, [newer]) == {}
        before = notes.find_one()
        assert documents.write(given.documents, [(1, new)]) == {}
        assert notes.find_one() == before
    notes.drop_indexes()

    assert notes.find_one() == {"_id": "n", "version": 3, "deleted": True}


@pytest.mark.parametrize("new", [True, False])
def test_a_document_that_mongodb_finds_too_large_harms_no_other(given: Resources, *, new: bool) -> None:
    large = DocumentChange("notes", "b", {"text": "x" * (17 * 2**20)}, new=new)
    changes = [
        (number, DocumentChange("notes", key, {"text": key}, new=new)) for number, key in enumerate("acd", 1)
    ]

    wrong = documents.write(given.documents, [*changes, (9, large)])

    assert [(version, failure.final) for version, failure in wrong.items()] == [(9, True)]
    assert given.documents["notes"].count_documents({}) == 3
