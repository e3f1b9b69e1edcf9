"""What a hostile reader found: each law here was once broken."""

import os
import signal
import threading
from uuid import uuid4

import pytest

from tests.fixtures.jobs import Bank, Runner, message
from worker.delivery import documents
from worker.delivery import node as node_module
from worker.delivery.effects import DocumentChange
from worker.delivery.node import Node
from worker.stores.resources import Resources


def test_of_two_writers_who_race_for_a_new_document_the_newer_version_wins(given: Resources) -> None:
    for round_ in range(150):
        barrier = threading.Barrier(2)

        def write(version: int, key: str, barrier: threading.Barrier) -> None:
            barrier.wait()
            documents.write(given.documents, [(version, DocumentChange("notes", key, {"text": str(version)}))])

        writers = [threading.Thread(target=write, args=(version, str(round_), barrier)) for version in (1, 2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

    stale = given.documents["notes"].count_documents({"version": 1})
    assert stale == 0


def test_a_job_that_asks_postgresql_for_too_much_does_not_stop_its_neighbours(bank: Bank) -> None:
    jobs = [message("testing.exhaust", {"length": int(n == 4)}) for n in range(8)]

    endings = bank.run(*jobs)

    assert [ending.outcome.value for ending in endings] == ["succeeded"] * 4 + ["retrying"] + ["succeeded"] * 3


def test_a_job_whose_locks_cannot_be_named_is_tried_again_and_then_parked(bank: Bank) -> None:
    job = message("testing.broken_locks", {"account": uuid4()})

    outcomes = [bank.run(job)[0].outcome.value for _ in range(5)]

    assert outcomes == ["retrying"] * 4 + ["parked"]
    assert bank.value("SELECT data->>'code' FROM trivet.jobs") == "failed"


def test_a_check_of_a_payload_that_fails_is_the_failure_of_that_job_alone(bank: Bank) -> None:
    jobs = [message("testing.check", {"number": number}) for number in (2, 3, 4)]

    first = bank.run(*jobs)
    again = [bank.run(jobs[1])[0].outcome.value for _ in range(4)]

    assert [ending.outcome.value for ending in first] == ["succeeded", "retrying", "succeeded"]
    assert again == ["retrying"] * 3 + ["parked"]


def test_no_event_goes_out_while_its_document_could_not_be_written(bank: Bank) -> None:
    database = bank.run.given.documents
    database.drop_collection("notes")
    database.create_collection("notes", validator={"text": {"$ne": "never"}})
    shared = uuid4()

    bank.run(
        message("testing.share", {"text": "fine", "document": shared, "subject": "a"}),
        message("testing.share", {"text": "never", "document": shared, "subject": "b"}),
    )
    waiting = bank.rows("SELECT subject FROM trivet.outbox WHERE parked_at IS NULL")
    early = bank.events()
    bank.rows("UPDATE trivet.outbox SET due_at = now() WHERE due_at IS NOT NULL RETURNING id")
    bank.deliver_all()

    assert [row.subject for row in waiting] == ["shared/a"]
    assert early == []
    assert [event["subject"] for event in bank.events()] == ["shared/a"]
    assert (database["notes"].find_one() or {})["text"] == "fine"
    database.drop_collection("notes")


def test_a_stream_of_another_type_delays_events_and_repeats_no_live_message(bank: Bank) -> None:
    redis = bank.run.given.redis
    redis.set("events", "in the way")
    heard = redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    heard.subscribe("notes")
    heard.get_message(timeout=5)

    bank.run(message("testing.tell", {"channel": "notes", "key": "k"}))
    for _ in range(3):
        bank.run.deliver_all()
    redis.delete("events")
    bank.deliver_all()

    assert heard.get_message(timeout=5) is not None
    assert heard.get_message(timeout=0.2) is None
    assert len(bank.events()) == 1
    heard.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child only takes the lock and stops
def test_a_frozen_holder_of_the_turn_is_passed_over(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "STALE_S", 0.2)
    node = Node()
    child = os.fork()
    if child == 0:
        with node.turn():
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)

    runner = Runner(bank.run.given, node)
    runner(message("users.create", {"name": "Ada", "email": "ada@example.org"}))
    bank.deliver_all()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    assert len(bank.events()) == 1
    node.close()


def test_bodies_that_are_slow_in_sum_keep_their_batch(bank: Bank) -> None:
    jobs = [message("testing.think", {"seconds": 0.35}) for _ in range(8)]  # the lease is 6 s, silence 2 s

    endings = bank.run(*jobs)

    assert {ending.outcome.value for ending in endings} == {"succeeded"}
    assert bank.rows("SELECT DISTINCT attempts FROM trivet.jobs") == [(1,)]
