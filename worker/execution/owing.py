"""What the jobs of a batch owe: effects, results and completion events, as rows for the outbox."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from worker.delivery.events import completion_event
from worker.delivery.outbox import Lane, Owed
from worker.delivery.redis_lane import result_meta
from worker.errors import Outcome
from worker.execution.attempt import Attempt
from worker.execution.job import Job
from worker.messages import printable, traceparent


def subject_of(job: Job[Any, Any], attempt: Attempt) -> str:
    """The subject of the job's event: its row where it succeeded and locked one, else the job itself."""
    if attempt.subject is None:  # asked for twice: for the event, and for the ledger
        attempt.subject = _subject(job, attempt)
    return attempt.subject


def _subject(job: Job[Any, Any], attempt: Attempt) -> str:
    if attempt.ended.outcome is Outcome.SUCCEEDED and attempt.command is not None:
        return job.subject_of(attempt.command, attempt.job_id, attempt.ended.data)
    return f"jobs/{attempt.job_id}"


def owed_by(job: Job[Any, Any], attempt: Attempt, now: datetime) -> Iterator[Owed]:
    """At most two rows: the Redis lane's, and the document lane's with the completion event."""
    ending = attempt.ended
    if not ending.outcome.ended:
        return
    subject = subject_of(job, attempt)
    effects = attempt.effects
    effects.results += [result_meta(task_id, ending.outcome, ending.data) for task_id in sorted(attempt.waiting)]
    if in_redis := effects.in_redis():
        yield Owed(attempt.job_id, Lane.REDIS, subject, effects=orjson.dumps(in_redis).decode())
    if not attempt.repeats:
        event = _event(job, attempt, subject, now)
        yield Owed(attempt.job_id, Lane.DOCUMENTS, subject, documents=effects.documents, event=event)


def _event(job: Job[Any, Any], attempt: Attempt, subject: str, now: datetime) -> str:
    ending = attempt.ended
    succeeded = ending.outcome is Outcome.SUCCEEDED
    return completion_event(
        kind=f"{job.name}.{ending.outcome}",
        subject=subject,
        time=now,
        data=job.broadcast_of(ending.data) if succeeded else ending.data,
        job_id=attempt.job_id,
        task_id=printable(attempt.message.task_id),
        traceparent=traceparent(attempt.message.headers),
        distinction=attempt.distinction,
    )
