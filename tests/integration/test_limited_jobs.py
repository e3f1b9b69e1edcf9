"""Jobs with a rate limit: counted once each, refused beyond it, and never because Redis was away."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis import Redis

from tests.fixtures.jobs import Bank, message
from worker.execution import batch
from worker.execution.attempt import Ending
from worker.messages import Message
from worker.stores.limits import RateLimit

LIMIT = RateLimit(3, 900, "bells/{bell}")


def ring(bell: str = "door", **more: Any) -> Message:
    return message("testing.ring", {"bell": bell, **more})


def counted(bank: Bank, bell: str = "door") -> int:
    return int(bank.run.given.redis.zcard(LIMIT.log(f"bells/{bell}")))


def codes(endings: list[Ending]) -> list[object]:
    return [ending.data.get("code", str(ending.outcome)) for ending in endings]


def test_jobs_beyond_the_limit_are_rejected_and_told_when_to_come_again(bank: Bank) -> None:
    endings = bank.run(*(ring() for _ in range(5)), ring("back door"))

    assert codes(endings) == ["succeeded"] * 3 + ["rate_limited"] * 2 + ["succeeded"]
    refused = endings[3].data
    assert (refused["remaining"], refused["message"]) == (0, "3 in 900 s are allowed")
    assert 899 < refused["retry_after_s"] <= 900
    assert {event["data"]["code"] for event in bank.events() if event["data"]} == {"rate_limited"}


def test_a_job_that_is_tried_again_is_counted_once(bank: Bank, tmp_path: Path) -> None:
    job = ring(path=str(tmp_path / "tries"), times=2)

    endings = [*bank.run(job), *bank.run(job), *bank.run(ring(), ring(), ring()), *bank.run(job)]

    assert codes(endings) == ["retrying", "retrying", "succeeded", "succeeded", "rate_limited", "succeeded"]
    assert counted(bank) == 3


def test_a_job_that_is_sent_again_is_counted_once_and_reports_the_same(bank: Bank) -> None:
    job = ring()

    endings = bank.run(job, job, job, job) + bank.run(job)

    assert codes(endings) == ["succeeded"] * 5
    assert counted(bank) == 1


def test_a_batch_that_starts_again_counts_its_jobs_once(bank: Bank) -> None:
    endings = bank.run(ring(), ring(way="write and refuse"), ring())

    assert codes(endings) == ["succeeded", "spoiled", "succeeded"]
    assert counted(bank) == 2


def test_a_job_that_is_rejected_for_another_reason_gives_its_place_back(bank: Bank) -> None:
    endings = bank.run(*(ring(way="refuse") for _ in range(3))) + bank.run(*(ring() for _ in range(4)))

    assert codes(endings) == ["spoiled"] * 3 + ["succeeded"] * 3 + ["rate_limited"]


def test_a_message_that_conflicts_with_a_counted_job_takes_nothing_from_its_count(bank: Bank) -> None:
    job_id = uuid4()
    bank.run(message("testing.ring", {"bell": "door"}, job_id))

    (ending,) = bank.run(message("testing.ring", {"bell": "door", "way": "refuse"}, job_id))

    assert ending.data["code"] == "idempotency_conflict"
    assert counted(bank) == 1


def test_a_job_that_is_given_up_is_parked_whatever_its_limit_says_and_takes_no_place(bank: Bank) -> None:
    bank.run(*(ring() for _ in range(3)))

    given_up = batch.park(ring(), "poison", "its process died three times", bank.run.given)

    assert codes([attempt.ended for attempt in given_up.attempts]) == ["poison"]
    assert counted(bank) == 3


def test_without_redis_a_job_is_tried_again_and_neither_failed_nor_rejected(bank: Bank, no_redis: Redis) -> None:
    bank.run.given = replace(bank.run.given, hasty=no_redis)

    endings = bank.run(ring(), ring())

    assert codes(endings) == ["retrying", "retrying"]
    assert [ending.failed for ending in endings] == [False, False]
    assert ["its rate limit: Redis" in str(ending.error) for ending in endings] == [True, True], endings
