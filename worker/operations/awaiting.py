"""Wait for what becomes of one message: its completion event, or what the ledger has known before."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
from redis.client import PubSub
from sqlalchemy import Engine

from worker.delivery.events import completion_event
from worker.errors import IdempotencyConflict, Outcome
from worker.execution.attempt import Attempt, after_replays
from worker.execution.job import JOBS
from worker.operations.jobs import Conflict, Story, tell
from worker.stores.listening import heard

LOOK_EVERY_S: Final = 0.25
"""How often the ledger is asked, while no event comes."""

Event = dict[str, Any]


def wait_for_event(live: PubSub, engine: Engine, attempt: Attempt, patience_s: float) -> Event | None:
    """The completion event of what was sent, or None when it has not ended in time.

    `live` listened to the task's channels before the job was sent.

    A message that repeats an ended job causes no event: then it is made from the ledger, with the same id but
    without its `sequence`. Raises `StoreUnavailable` when a store is away.
    """
    limit = time.monotonic() + patience_s
    while (now := time.monotonic()) < limit:
        if event := _hear(live, attempt.message.task_id, min(limit, now + LOOK_EVERY_S)):
            return event
        if known := _look_up(engine, attempt):
            # What the ledger no longer owes has been published: perhaps in this very moment.
            return _hear(live, attempt.message.task_id, time.monotonic() + 0.1) or known
    return None


def _hear(live: PubSub, task_id: str, limit: float) -> Event | None:
    """The event that this message caused. A message that repeats a job causes none."""
    events: Iterator[Event] = map(orjson.loads, heard(live, limit))
    return next((event for event in events if event["taskid"] == task_id), None)


def _look_up(engine: Engine, attempt: Attempt) -> Event | None:
    """What became of a message that caused no event: its job had ended before, or it was refused before."""
    story = tell(engine, attempt.job_id)
    if story is None:
        return None
    for conflict in story.conflicts:
        if conflict.digest == attempt.digest.hex():
            refused = IdempotencyConflict(f"job {story.id} has another payload or task")
            return _event(story, Outcome.REJECTED, refused.data, conflict)
    if not story.state.ended or story.owes_event or story.digest != attempt.digest.hex():
        return None
    data = story.data or {}
    succeeded = story.state is Outcome.SUCCEEDED
    return _event(story, story.state, JOBS[story.task].broadcast_of(data) if succeeded else data)


def _event(
    story: Story, outcome: Outcome, data: Mapping[str, Any] | None, refused: Conflict | None = None
) -> Event:
    text = completion_event(
        kind=f"{story.task}.{outcome}",
        subject=f"jobs/{story.id}" if refused else str(story.subject),
        time=refused.seen_at if refused else story.ended_at or story.first_seen,
        data=data,
        job_id=story.id,
        task_id=refused.task_id if refused else story.task_id,
        distinction=refused.digest if refused else after_replays(story.replays),
    )
    event: Event = orjson.loads(text)
    return event
