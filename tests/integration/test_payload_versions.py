import json
from typing import Any
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import text

from tests.fixtures.jobs import Bank, Runner, message
from tests.fixtures.odd_jobs import Greet, GreetOne, greet
from worker.errors import Outcome
from worker.execution.enqueueing import Options
from worker.execution.resending import message_of, send_due
from worker.messages import Message
from worker.operations.cli.enqueue import compose
from worker.operations.replaying import replay
from worker.stores.resources import Resources


def notes(run: Runner) -> dict[str, str]:
    return {note["_id"]: note["text"] for note in run.given.documents.notes.find()}


def queued(given: Resources, queue: str = "testing") -> list[dict[str, Any]]:
    found: Any = given.redis.lrange(queue, 0, -1)
    return [orjson.loads(element) for element in found]


def kept(run: Runner) -> Any:
    with run.given.engine.begin() as connection:
        return connection.execute(text("SELECT * FROM trivet.jobs")).one()


def test_older_and_newer_payloads_run_in_one_batch(run_jobs: Runner) -> None:
    endings = run_jobs(
        message("testing.greet", {"who": "Ada"}),
        message("testing.greet", {"name": "Bob", "loud": True}, payload_version=2),
        message("testing.greet", {"names": ["Cleo", "Dan"]}, payload_version=3),
        message("testing.greet", {"names": ["Eve"]}),
        message("testing.greet", {"names": ["Fay"]}, payload_version=4),
    )

    assert [ending.outcome for ending in endings] == ["succeeded"] * 3 + ["retrying", "parked"]
    assert [ending.data.get("text") for ending in endings[:3]] == ["kind: Ada", "loud: Bob", "kind: Cleo, Dan"]
    assert sorted(notes(run_jobs).values()) == ["kind: Ada", "kind: Cleo, Dan", "loud: Bob"]


def test_an_upcaster_that_fails_is_tried_again_and_its_neighbours_are_not_harmed(bank: Bank) -> None:
    job_id, neighbour = uuid4(), uuid4()
    bad = message("testing.greet", {"who": "bug"}, job_id)

    tries = [bank.run(bad, message("testing.greet", {"who": "Ada"}, neighbour)) for _ in range(5)]

    assert [first.outcome for first, _ in tries] == ["retrying"] * 4 + ["parked"]
    assert {second.outcome for _, second in tries} == {"succeeded"}
    assert tries[0][0].error is not None
    assert "this upcaster fails" in tries[0][0].error
    assert tries[-1][0].data["code"] == "failed"
    assert list(notes(bank.run)) == [str(neighbour)]
    bank.check_events()


def test_a_job_whose_upcaster_fails_keeps_its_deadline(run_jobs: Runner) -> None:
    deadline = "2001-01-31T12:00:00Z"

    (ending,) = run_jobs(message("testing.greet", {"who": "bug"}, deadline=deadline))

    assert (ending.outcome, ending.data["code"]) == ("rejected", "expired")


def test_a_retry_keeps_the_payload_as_it_came_and_its_version(run_jobs: Runner) -> None:
    first = message("testing.greet", {"who": "bug"}, payload_version=1)

    run_jobs(first)
    again = message_of(kept(run_jobs))

    assert (again.body, again.headers["payload_version"]) == (first.body, 1)


def test_what_was_parked_by_an_older_worker_is_replayed_under_its_own_version(bank: Bank) -> None:
    job_id = uuid4()
    bank.run(message("testing.greet", {"name": "bug"}, job_id, payload_version=2))
    with bank.run.given.engine.begin() as connection:
        connection.execute(
            text("UPDATE trivet.jobs SET state = 'parked', body = :body, headers = '{\"payload_version\": 2}'"),
            {"body": message("testing.greet", {"name": "Ada"}).body},
        )

    replayed = replay(bank.run.given.engine, [job_id])
    again = message_of(kept(bank.run))
    (ending,) = bank.run(again)

    assert replayed.jobs == 1
    assert again.headers["payload_version"] == 2
    assert (ending.outcome, ending.data) == (Outcome.SUCCEEDED, {"text": "kind: Ada"})


def test_a_typed_enqueue_says_which_version_its_payload_has(producing: None, given: Resources) -> None:
    sent = [greet.enqueue(names=["Ada"]), *greet.enqueue_many([Greet(names=["Bob"]), ({"names": []}, Options())])]

    assert [one.message.headers["payload_version"] for one in sent] == [3, 3, 3]
    assert {element["headers"]["payload_version"] for element in queued(given)} == {3}
    with pytest.raises(TypeError, match="takes Greet, not GreetOne"):
        greet.enqueue(GreetOne(name="Ada"))  # type: ignore[arg-type]  # what a producer must not do


def test_enqueueing_in_a_transaction_keeps_the_version(run_jobs: Runner) -> None:
    with run_jobs.given.engine.begin() as connection:
        greet.enqueue_in(connection, names=["Ada"])

    send_due(run_jobs.given)
    (element,) = queued(run_jobs.given)
    (ending,) = run_jobs(message_of(kept(run_jobs)))

    assert element["headers"]["payload_version"] == 3
    assert ending.data == {"text": "kind: Ada"}


def test_a_payload_that_comes_by_sql_is_of_version_1(run_jobs: Runner) -> None:
    with run_jobs.given.engine.begin() as connection:
        payload = json.dumps({"who": "Ada"})
        connection.execute(text("SELECT trivet.enqueue('testing.greet', :payload)"), {"payload": payload})

    (ending,) = run_jobs(message_of(kept(run_jobs)))

    assert ending.data == {"text": "kind: Ada"}


def test_a_job_that_another_one_enqueues_says_its_version(run_jobs: Runner) -> None:
    user = uuid4()
    run_jobs(message("testing.greet_later", {"id": user}))

    (element,) = queued(run_jobs.given)

    assert element["headers"]["payload_version"] == 3


def test_the_command_line_sends_the_version_that_it_shows() -> None:
    attempt = compose("testing.greet", b'{"names": ["Ada"]}', None)

    assert attempt.message.headers == {"payload_version": 3}
    assert attempt.command == Greet(names=["Ada"])


def test_the_same_job_is_known_again_by_its_payload_whatever_version_it_claims(bank: Bank) -> None:
    older = message("testing.greet", {"who": "Ada"}, uuid4())
    other = Message(older.task, older.task_id, older.body, headers={"payload_version": 1})

    first, second = bank.run(older), bank.run(other)

    assert first == second
    (conflict,) = bank.run(message("testing.greet", {"names": ["Ada"]}, older.task_id, payload_version=3))
    assert conflict.data["code"] == "idempotency_conflict"
    assert notes(bank.run) == {older.task_id: "kind: Ada"}
