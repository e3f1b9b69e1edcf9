"""Jobs whose code fails, and jobs that find something away: kept with a time, sent again, given up in the end."""

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.fixtures.jobs import Bank, message
from worker.errors import Outcome
from worker.execution.resending import SEND_MAX, send_due
from worker.messages import Message, derive_id, job_id

QUEUE = "testing"
FAILURES_MAX = 5


@pytest.fixture
def failing(tmp_path: Path) -> Callable[..., Message]:
    """Messages of a job that fails so many times and then succeeds; the same path is the same count."""

    def make(times: int, way: str = "fail", task_id: str | None = None, **headers: Any) -> Message:
        path = str(tmp_path / str(task_id or uuid4()))
        return message(f"testing.{way}", {"path": path, "times": times}, task_id, **headers)

    return make


Failing = Callable[..., Message]


def row_of(bank: Bank, job: Message | UUID) -> Any:
    key = job if isinstance(job, UUID) else job_id(job)
    return bank.rows("SELECT *, now() AS now FROM trivet.jobs WHERE id = :id", id=key)[0]


def runs(job: Message) -> int:
    """How often the body ran."""
    counted = Path(orjson.loads(job.body)[1]["path"])
    return counted.stat().st_size if counted.exists() else 0


def make_due(bank: Bank) -> None:
    bank.value("WITH due AS (UPDATE trivet.jobs SET due_at = now() WHERE due_at IS NOT NULL RETURNING 1) SELECT 1")


def send(bank: Bank) -> list[Message]:
    """Send what is due; returns what is in the queue then, in the order in which a worker takes it."""
    given = bank.run.given
    sent = send_due(given)
    elements: Any = given.redis.lrange(QUEUE, 0, -1)
    given.redis.delete(QUEUE)
    assert len(elements) == sent
    return [as_received(json.loads(element)) for element in reversed(elements)]


def as_received(element: dict[str, Any]) -> Message:
    """What a worker makes of an element of the queue's list."""
    headers = element["headers"]
    assert element["properties"]["body_encoding"] == "base64"
    body = base64.b64decode(element["body"])
    return Message(headers["task"], headers["id"], body, element["content-type"], headers)


def run_until_ended(bank: Bank, job: Message, limit: int = 20) -> int:
    """Run a job, and again whenever it has been sent; returns how many times."""
    (ending,) = bank.run(job)
    for count in range(1, limit):
        if ending.outcome.ended:
            return count
        make_due(bank)
        (ending,) = bank.run(*send(bank))
    return limit


def kinds(bank: Bank, job: Message) -> list[str]:
    return [event["type"] for event in bank.events() if event["jobid"] == str(job_id(job))]


@pytest.mark.parametrize("way", ["fail", "away"])
def test_a_job_that_fails_is_kept_with_a_time_and_its_history(bank: Bank, failing: Failing, way: str) -> None:
    job = failing(1, way, idempotency_key="k", want_result=True)

    (ending,) = bank.run(job)

    assert (ending.outcome, ending.data["code"]) == (Outcome.RETRYING, "retrying")
    row = row_of(bank, job)
    assert (row.state, row.attempts, row.failures) == ("retrying", 1, int(way == "fail"))
    assert row.first_seen <= row.due_at <= row.first_seen + timedelta(seconds=2)
    assert row.ended_at is None
    assert bytes(row.body) == job.body
    assert row.headers.items() >= {"idempotency_key": "k", "want_result": True}.items()
    (entry,) = row.history
    assert datetime.fromisoformat(entry["at"]) == row.first_seen
    assert ("this code fails" if way == "fail" else "the other service is away") in entry["error"]
    assert kinds(bank, job) == []
    assert bank.run.given.redis.exists(f"celery-task-meta-{job.task_id}") == 0


def test_a_job_that_is_not_due_is_not_sent(bank: Bank, failing: Failing) -> None:
    job = failing(1)
    bank.run(job)
    bank.value("UPDATE trivet.jobs SET due_at = now() + interval '5 s' RETURNING 1")

    assert send(bank) == []
    assert row_of(bank, job).due_at > row_of(bank, job).now


def test_a_job_that_is_due_is_sent_as_it_came(bank: Bank, failing: Failing) -> None:
    headers = {
        "idempotency_key": "schlüssel",
        "want_result": True,
        "deadline": "2199-01-31T12:00:00Z",
        "payload_version": 1,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    job = failing(1, task_id="no UUID", **headers)
    bank.run(job)
    make_due(bank)

    (sent,) = send(bank)

    assert (sent.task, sent.task_id, sent.body) == (job.task, job.task_id, job.body)
    assert {name: sent.headers[name] for name in headers} == headers
    assert job_id(sent) == job_id(job)


def test_a_job_sent_again_succeeds_and_has_one_event_and_its_result(bank: Bank, failing: Failing) -> None:
    job = failing(3, want_result=True)

    assert run_until_ended(bank, job) == 4

    row = row_of(bank, job)
    assert (row.state, row.attempts, row.failures, len(row.history)) == ("succeeded", 4, 3, 3)
    assert (row.due_at, row.body) == (None, None)
    assert kinds(bank, job) == ["testing.fail.succeeded"]
    stored: Any = bank.run.given.redis.get(f"celery-task-meta-{job.task_id}")
    assert orjson.loads(stored)["status"] == "SUCCESS"
    bank.check()


def test_what_was_sent_is_not_sent_again(bank: Bank, failing: Failing) -> None:
    job = failing(1)
    bank.run(job)
    make_due(bank)

    first, second = send(bank), send(bank)

    assert (len(first), second) == (1, [])
    assert (row_of(bank, job).due_at, row_of(bank, job).sent) == (None, 1)


def test_many_jobs_that_are_due_go_out_in_portions_the_longest_due_first(bank: Bank, failing: Failing) -> None:
    jobs = [failing(1) for _ in range(SEND_MAX + 20)]
    bank.run(*jobs)
    make_due(bank)
    late = job_id(jobs[-1])
    bank.value("UPDATE trivet.jobs SET due_at = now() - interval '1 h' WHERE id = :id RETURNING 1", id=late)

    first, second, third = send(bank), send(bank), send(bank)

    assert [len(first), len(second), len(third)] == [SEND_MAX, 20, 0]
    assert late in {job_id(sent) for sent in first}
    assert {job_id(sent) for sent in first + second} == {job_id(job) for job in jobs}


def test_code_that_fails_five_times_is_parked_with_all_that_an_operator_needs(bank: Bank, failing: Failing) -> None:
    job = failing(99, want_result=True, idempotency_key="k")

    assert run_until_ended(bank, job) == FAILURES_MAX

    assert runs(job) == FAILURES_MAX
    row = row_of(bank, job)
    assert (row.state, row.attempts, row.failures, row.due_at) == ("parked", 5, 5, None)
    assert row.data["code"] == "failed"
    assert bytes(row.body) == job.body
    assert row.headers.items() >= {"want_result": True, "idempotency_key": "k"}.items()
    assert len(row.history) == FAILURES_MAX
    assert all("RuntimeError: this code fails" in entry["error"] for entry in row.history)
    assert kinds(bank, job) == ["testing.fail.parked"]
    assert "this code fails" not in orjson.dumps(bank.events()).decode()
    stored: Any = bank.run.given.redis.get(f"celery-task-meta-{job.task_id}")
    assert orjson.loads(stored)["result"]["exc_type"] == "Parked"
    assert send(bank) == []


def test_a_parked_job_that_is_delivered_again_stays_parked_and_does_not_run(bank: Bank, failing: Failing) -> None:
    job = failing(99)
    run_until_ended(bank, job)

    (ending,) = bank.run(job)

    assert ending.outcome is Outcome.PARKED
    assert runs(job) == FAILURES_MAX
    assert kinds(bank, job) == ["testing.fail.parked"]


def test_what_is_away_is_tried_for_longer_than_code_that_fails(bank: Bank, failing: Failing) -> None:
    job = failing(3 * FAILURES_MAX, "away")

    assert run_until_ended(bank, job) == 3 * FAILURES_MAX + 1

    row = row_of(bank, job)
    assert (row.state, row.failures) == ("succeeded", 0)


@pytest.mark.parametrize("way", ["fail", "away"])
def test_a_job_that_is_not_done_by_its_deadline_is_parked(bank: Bank, failing: Failing, way: str) -> None:
    job = failing(99, way)
    bank.run(job)
    bank.value("UPDATE trivet.jobs SET deadline = now() - interval '1 s', due_at = now() RETURNING 1")

    (ending,) = bank.run(*send(bank))

    assert (ending.outcome, ending.data["code"]) == (Outcome.PARKED, "deadline")
    assert runs(job) == 1
    row = row_of(bank, job)
    assert bytes(row.body) == job.body
    assert kinds(bank, job) == [f"testing.{way}.parked"]


def test_a_job_without_a_deadline_of_its_own_is_tried_for_24_hours(bank: Bank, failing: Failing) -> None:
    job, own = failing(1), failing(1, deadline="2199-01-31T12:00:00+01:00")

    bank.run(job, own)

    assert row_of(bank, job).deadline - row_of(bank, job).first_seen == timedelta(hours=24)
    assert row_of(bank, own).deadline == datetime.fromisoformat("2199-01-31T11:00:00+00:00")


@pytest.mark.parametrize("attempts", [1, 3, 5, 10, 1_000, 32_766])
def test_a_wait_doubles_up_to_a_minute_for_what_is_away(bank: Bank, failing: Failing, attempts: int) -> None:
    jobs = [failing(99, "away") for _ in range(20)]
    bank.run(*jobs)
    for job in jobs:
        bank.value("UPDATE trivet.jobs SET attempts = :n WHERE id = :id RETURNING 1", n=attempts, id=job_id(job))

    endings = bank.run(*jobs)

    waits = [ending.due_in_s or 0 for ending in endings]
    assert all(0 <= wait <= min(60, 2 * 2**attempts) for wait in waits)
    assert len(set(waits)) > 1
    assert {row_of(bank, job).attempts for job in jobs} == {attempts + 1}


def test_a_job_with_a_far_deadline_is_tried_more_often_than_a_small_number_can_count(
    bank: Bank, failing: Failing
) -> None:
    job = failing(99, "away", deadline="2199-01-31T12:00:00Z")
    bank.run(job)
    bank.value("UPDATE trivet.jobs SET attempts = 32767 RETURNING 1")

    (ending,) = bank.run(job)

    assert ending.outcome is Outcome.RETRYING


def test_a_job_that_fails_harms_none_of_its_neighbours(bank: Bank, failing: Failing) -> None:
    bad = failing(99)
    good = [failing(0) for _ in range(4)]

    endings = bank.run(good[0], good[1], bad, good[2], good[3])

    assert [ending.outcome.value for ending in endings] == ["succeeded"] * 2 + ["retrying"] + ["succeeded"] * 2
    assert [row_of(bank, job).state for job in good] == ["succeeded"] * 4
    assert [runs(job) for job in (*good, bad)] == [1] * 5


def test_a_duplicate_that_comes_before_the_job_is_due_runs_it(bank: Bank, failing: Failing) -> None:
    job = failing(1)
    bank.run(job)
    bank.value("UPDATE trivet.jobs SET due_at = now() + interval '1 h' RETURNING 1")

    (ending,) = bank.run(job)

    assert ending.outcome is Outcome.SUCCEEDED
    assert (row_of(bank, job).due_at, send(bank)) == (None, [])
    assert kinds(bank, job) == ["testing.fail.succeeded"]


def test_duplicates_of_a_failing_job_in_one_batch_count_as_one_attempt(bank: Bank, failing: Failing) -> None:
    job = failing(1)

    first, second = bank.run(job, job)

    assert first == second
    assert (first.outcome, runs(job)) == (Outcome.RETRYING, 1)
    row = row_of(bank, job)
    assert (row.attempts, row.failures, len(row.history)) == (1, 1, 1)


def test_a_retrying_job_that_meets_another_payload_refuses_it_and_goes_on(bank: Bank, failing: Failing) -> None:
    job = failing(1)
    other = message(job.task, {"path": "elsewhere", "times": 0}, job.task_id)
    bank.run(job)
    kept = row_of(bank, job)

    (refused,) = bank.run(other)

    assert (refused.outcome, refused.data["code"]) == (Outcome.REJECTED, "idempotency_conflict")
    now = row_of(bank, job)
    assert (now.state, now.digest, now.attempts, now.due_at, now.history) == (
        kept.state,
        kept.digest,
        kept.attempts,
        kept.due_at,
        kept.history,
    )
    assert bytes(now.body) == job.body
    assert kinds(bank, job) == ["testing.fail.rejected"]
    make_due(bank)
    (ending,) = bank.run(*send(bank))
    assert ending.outcome is Outcome.SUCCEEDED
    assert kinds(bank, job) == ["testing.fail.rejected", "testing.fail.succeeded"]


@pytest.mark.parametrize("header", ["deadline", "idempotency_key", "traceparent", "want_result"])
def test_a_header_of_null_is_none_also_when_the_job_is_sent_again(
    bank: Bank, failing: Failing, header: str
) -> None:
    job = failing(1, **{header: None})

    assert run_until_ended(bank, job) == 2

    row = row_of(bank, job)
    assert row.state == "succeeded"
    bank.check()


@pytest.mark.parametrize("task_id", ["a\0b", "a\ud800b", "schlüssel", " ", "x" * 2_000])
def test_a_job_sent_again_is_the_same_job_whatever_its_task_id(bank: Bank, failing: Failing, task_id: str) -> None:
    path = orjson.loads(failing(1).body)[1]["path"]
    job = message("testing.fail", {"path": path, "times": 1}, task_id)

    assert run_until_ended(bank, job) == 2

    assert bank.rows("SELECT id, state FROM trivet.jobs") == [(derive_id(job.task, task_id), "succeeded")]


def test_every_task_id_that_asked_for_the_result_of_a_retrying_job_gets_it(bank: Bank, failing: Failing) -> None:
    first = failing(1, task_id="first", idempotency_key="k", want_result=True)
    second = Message(first.task, "second", first.body, headers=first.headers)
    bank.run(first)

    bank.run(second)

    make_due(bank)
    if again := send(bank):
        bank.run(*again)
    stored = [bank.run.given.redis.exists(f"celery-task-meta-{message.task_id}") for message in (first, second)]
    assert stored == [1, 1]
