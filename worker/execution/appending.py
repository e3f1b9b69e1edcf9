"""Completion events that Redis lost are made again from the ledger, and appended to the stream again."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from worker.delivery import stream
from worker.delivery.events import completion_event
from worker.delivery.shards import are_behind, committed_turns, lock_every_shard, turn_transaction
from worker.errors import Outcome
from worker.execution.attempt import after_replays
from worker.execution.job import JOBS
from worker.stores.resources import Resources

PORTION: Final = 250
"""Jobs whose events are in memory together; each has at most 64 KiB of data."""

Ended = tuple[int, Any]
"""The sequence of a job's event, and the job's id."""

_log = structlog.get_logger()


def has_lost(given: Resources) -> bool:
    """Whether Redis has lost events that were published. Raises `StoreUnavailable`."""
    with given.engine.begin() as connection:
        committed = committed_turns(connection)
    return are_behind(stream.known_turns(given.redis), committed)


def append_again(given: Resources) -> bool:
    """Append the events that Redis lost; false when somebody else is at it, or Redis lost its data once more.

    Of the `TRIVET_EVENTS_MAXLEN` jobs that ended last, those are the events that are neither in the stream nor
    still owed, in the order of their sequences. No turn publishes meanwhile. They are not announced on their
    channels: who listened there has heard them. Raises `StoreUnavailable`.
    """
    with turn_transaction(given) as connection:
        if not lock_every_shard(connection):
            return False
        committed = committed_turns(connection)
        if not are_behind(stream.known_turns(given.redis), committed):
            return True
        recovery = stream.Recovery.begin(given.redis, given.settings.events_maxlen)
        lost = _lost(connection, stream.sequences(given.redis), given.settings.events_maxlen)
        _log.warning("events.lost", events=len(lost))
        whole = all(recovery.append(list(_events(connection, part))) for part in _portions(lost))
        appended = whole and recovery.finish(committed)
    _log.warning("events.appended_again", events=len(lost), whole=appended)
    return appended


def _lost(connection: Connection, there: set[int], maxlen: int) -> list[Ended]:
    """What is missing of the newest jobs, in the order of sequences.

    What is older than all that the stream has was trimmed away, and not lost.
    """
    newest = connection.exec_driver_sql(
        """
        SELECT sequence, id
        FROM (SELECT sequence, id FROM trivet.jobs WHERE ended_at IS NOT NULL
              ORDER BY ended_at DESC LIMIT %s) AS newest
        WHERE sequence IS NOT NULL AND NOT EXISTS (SELECT FROM trivet.outbox WHERE outbox.id = newest.sequence)
        """,
        (maxlen,),
    )
    oldest = min(there, default=0)
    return sorted((sequence, job_id) for sequence, job_id in newest if sequence > oldest and sequence not in there)


def _portions(lost: Sequence[Ended]) -> Iterator[Sequence[Ended]]:
    return (lost[start : start + PORTION] for start in range(0, len(lost), PORTION))


def _events(connection: Connection, lost: Iterable[Ended]) -> Iterator[stream.Numbered]:
    ended = connection.exec_driver_sql(
        "SELECT id, task, task_id, state, subject, data, replays, ended_at, sequence, traceparent FROM trivet.jobs"
        " WHERE id = ANY(%s) ORDER BY sequence",
        ([job_id for _, job_id in lost],),
    )
    return ((row.sequence, _event(row)) for row in ended)


def _event(row: Any) -> str:
    """The event as it was: made of the same values, by the same function."""
    return completion_event(
        kind=f"{row.task}.{row.state}",
        subject=row.subject,
        time=row.ended_at,
        data=_told(row.task, row.data) if row.state == Outcome.SUCCEEDED else row.data,
        job_id=row.id,
        task_id=row.task_id,
        traceparent=row.traceparent,
        distinction=after_replays(row.replays),
    )


def _told(task: str, data: Any) -> Any:
    """What an event may tell of a result: nothing, when this version does not know the task."""
    return JOBS[task].broadcast_of(data) if task in JOBS else None
