"""Free-form documents: written, changed, removed, versioned; what is gone stays gone."""

import json
import random
import threading
from typing import Any

import pytest

from tests.fixtures.amounts import ORDERS
from tests.fixtures.copies import documents_read
from tests.fixtures.jobs import Bank, message
from worker.delivery import documents
from worker.delivery.effects import DocumentChange
from worker.errors import Outcome
from worker.execution import batch
from worker.execution.attempt import Ending
from worker.messages import Message

NOTE = {"collection": "notes", "id": "one"}


def do(bank: Bank, verb: str, **given: Any) -> Ending:
    (ending,) = bank.run(message(f"documents.{verb}", {**NOTE, **given}))
    return ending


def told(ending: Ending) -> Any:
    """The version that it has now, or why not."""
    return ending.data["version"] if ending.outcome is Outcome.SUCCEEDED else ending.data["code"]


def read(bank: Bank) -> dict[str, Any]:
    return {key: body for key, (_, body) in documents_read(bank.run.given).items()}


def test_what_is_put_is_read_as_it_came(bank: Bank) -> None:
    body = {"é": ["ü", None, True, -0.0, 1e20, 5e-324, 2**63 - 1, -(2**63)], "empty": {}, "2": 1, "1": [[]]}

    ending = do(bank, "put", body=body)

    assert ending.data == {**NOTE, "version": 1}
    assert json.dumps(read(bank)["notes/one"], sort_keys=True) == json.dumps(body, sort_keys=True)
    assert told(do(bank, "patch", changes={"empty": None})) == 2
    bank.check()


def test_what_a_document_holds_is_in_no_event(bank: Bank) -> None:
    do(bank, "put", body={"secret": "nobody else's business"})

    assert "nobody else's business" not in str(bank.events())
    assert bank.events()[-1]["subject"] == "documents/notes/one"


# The examples of RFC 7396, appendix A, whose target and patch are objects.
MERGED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("before", "changes", "after"), MERGED)
def test_changes_are_merged_as_rfc_7396_says(
    bank: Bank, before: dict[str, Any], changes: dict[str, Any], after: dict[str, Any]
) -> None:
    do(bank, "put", body=before)

    do(bank, "patch", changes=changes)

    assert read(bank) == {"notes/one": after}
    bank.check()


def test_a_version_rises_by_one_with_every_change_and_goes_on_after_a_delete(bank: Bank) -> None:
    endings = [
        do(bank, "put", body={"n": 1}),
        do(bank, "put", body={"n": 2}),
        do(bank, "patch", changes={"n": 3}),
        do(bank, "delete"),
        do(bank, "put", body={"n": 4}),
    ]

    assert [told(ending) for ending in endings] == [1, 2, 3, 4, 5]
    assert read(bank) == {"notes/one": {"n": 4}}
    bank.check()


def test_who_names_a_version_changes_that_version_only(bank: Bank) -> None:
    first = do(bank, "put", body={}, if_version=0)
    second = do(bank, "put", body={"n": 1}, if_version=0)
    stale = [do(bank, "patch", changes={"n": 2}, if_version=2), do(bank, "delete", if_version=9)]
    right = [do(bank, "patch", changes={"n": 3}, if_version=1), do(bank, "delete", if_version=2)]
    gone = do(bank, "put", body={}, if_version=3)

    assert [told(ending) for ending in (first, second, *stale)] == [1, *["version_conflict"] * 3]
    assert [told(ending) for ending in (*right, gone)] == [2, 3, "version_conflict"]
    assert told(do(bank, "put", body={}, if_version=0)) == 4
    bank.check()


def test_of_many_in_one_batch_who_name_the_same_version_one_succeeds(bank: Bank) -> None:
    puts = [message("documents.put", {**NOTE, "body": {"n": n}, "if_version": 0}) for n in range(5)]
    patches = [message("documents.patch", {**NOTE, "changes": {"m": n}, "if_version": 1}) for n in range(5)]

    endings = [told(ending) for ending in bank.run(*puts) + bank.run(*patches)]

    assert endings == [1, *["version_conflict"] * 4, 2, *["version_conflict"] * 4]
    assert read(bank) == {"notes/one": {"n": 0, "m": 0}}
    bank.check()


def test_a_document_that_is_not_there_is_neither_patched_nor_deleted(bank: Bank) -> None:
    before = [told(do(bank, "patch", changes={})), told(do(bank, "delete"))]
    do(bank, "put", body={})
    do(bank, "delete")

    assert [*before, told(do(bank, "patch", changes={})), told(do(bank, "delete"))] == ["document_not_found"] * 4
    assert read(bank) == {}


def test_two_nodes_that_put_the_same_new_documents_at_once_both_succeed(bank: Bank) -> None:
    ids = [f"n{number}" for number in range(300)]
    orders = [ids, ids[::-1]]
    done: list[Ending] = []

    def node(order: list[str]) -> None:
        puts = [message("documents.put", {"collection": "notes", "id": key, "body": {"by": key}}) for key in order]
        done.extend(attempt.ended for attempt in batch.run("documents.put", puts, bank.run.given).attempts)

    threads = [threading.Thread(target=node, args=[order]) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told(ending) for ending in done) == [1] * 300 + [2] * 300
    bank.deliver_all()
    bank.check()


@pytest.mark.generated
def test_in_random_orders_a_late_repeat_of_a_put_does_not_bring_back_what_was_deleted(bank: Bank) -> None:
    chance = random.Random(7)
    jobs = {f"n{number}": _put_and_delete(f"n{number}") for number in range(ORDERS)}
    orders = {key: chance.sample([put, put, put, delete, delete], 5) for key, (put, delete) in jobs.items()}

    deleted = set()
    for step in range(5):
        for verb in ("put", "delete"):
            now = {key: order[step] for key, order in orders.items() if order[step].task.endswith(verb)}
            endings = bank.run(*now.values()) if now else []
            deleted |= {key for key, end in zip(now, endings, strict=True) if (verb, told(end)) == ("delete", 2)}

    assert 0.4 * ORDERS < len(deleted) < 0.9 * ORDERS, "some deletes came before their puts, and some after"
    assert read(bank).keys() == {f"notes/{key}" for key in jobs.keys() - deleted}
    bank.check()


@pytest.mark.generated
def test_in_random_orders_of_delivery_what_was_deleted_stays_gone(bank: Bank) -> None:
    chance = random.Random(8)
    jobs = {f"n{number}": _put_and_delete(f"n{number}") for number in range(ORDERS)}
    for place in (0, 1):
        step = [pair[place] for pair in jobs.values()]
        batch.run(step[0].task, step, bank.run.given)
    owed = [
        (row.id, DocumentChange.from_bson(raw))
        for row in bank.rows("SELECT id, documents FROM trivet.outbox WHERE documents IS NOT NULL")
        for raw in row.documents
    ]

    late = chance.sample(owed * 2, len(owed) * 2)
    for start in range(0, len(late), 100):
        assert documents.write(bank.run.given.documents, late[start : start + 100]) == {}

    assert read(bank) == {}
    bank.deliver_all()
    bank.check()


def _put_and_delete(key: str) -> tuple[Message, Message]:
    place = {"collection": "notes", "id": key}
    return message("documents.put", {**place, "body": {"n": 1}}), message("documents.delete", place)
