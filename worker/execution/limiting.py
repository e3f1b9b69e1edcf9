"""Rate limits that jobs declare: all jobs of a batch are counted in one round trip, before the first body runs."""

from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from redis import Redis

from worker.errors import Outcome, RateLimited, StoreUnavailable, Unavailable
from worker.execution.attempt import Attempt, Ending
from worker.execution.job import Job
from worker.execution.verdict import judge
from worker.stores import limits
from worker.stores.limits import Allowance, Event, RateLimit

_log = structlog.get_logger()


def limit(job: Job[Any, Any], attempts: Sequence[Attempt], redis: Redis) -> list[Attempt]:
    """Reject the jobs that are over the limit; returns the others. While Redis is away, all are tried again later.

    An event's id is the job's, so a job that is tried again is counted once.
    """
    if job.limit is None or not attempts:
        return list(attempts)
    try:
        allowances = limits.count(redis, job.limit, [_event(job.limit, attempt) for attempt in attempts])
    except StoreUnavailable as error:
        for attempt in attempts:
            attempt.ending = judge(Unavailable(f"its rate limit: {error}"), job, attempt)
        return []
    for attempt, allowance in zip(attempts, allowances, strict=True):
        if not allowance.allowed:
            attempt.ending = Ending.rejected(_refusal(job.limit, allowance))
    return [attempt for attempt in attempts if attempt.runnable]


def give_back(job: Job[Any, Any], attempts: Iterable[Attempt], redis: Redis) -> None:
    """Count those no more that were allowed and have ended, committed, without an effect.

    When Redis is away they stay counted until they leave the window: the limit may then be too strict, never too
    generous.
    """
    if job.limit is None:
        return
    events = [_event(job.limit, attempt) for attempt in attempts if _counted_in_vain(attempt)]
    if not events:
        return
    try:
        limits.give_back(redis, job.limit, events)
    except StoreUnavailable as error:
        _log.warning("store.away", error=str(error))


def _event(declared: RateLimit, attempt: Attempt) -> Event:
    assert attempt.command is not None  # noqa: S101 - only attempts that could be read come here
    fields = {**attempt.command.__dict__, "job_id": attempt.job_id}
    return declared.key.format_map(fields), str(attempt.job_id)


def _refusal(declared: RateLimit, allowance: Allowance) -> RateLimited:
    allowed = f"{declared.limit} in {declared.window_s:g} s are allowed"
    return RateLimited(allowed, remaining=allowance.remaining, retry_after_s=allowance.retry_after_s)


def _counted_in_vain(attempt: Attempt) -> bool:
    """Not so a repeat, or what is refused beside a job: under its id another message's effect is counted."""
    if attempt.command is None or attempt.repeats or attempt.apart:
        return False
    ending = attempt.ended
    return ending.outcome in {Outcome.REJECTED, Outcome.PARKED} and ending.data.get("code") != RateLimited.code
