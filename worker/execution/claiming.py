"""Claiming the jobs of a batch: what the ledger knows of each, locked until the batch commits.

A job that nobody knows has no row yet: `recording` inserts it, and if somebody else has done so by then, the batch
starts again and finds that row. So each job costs one row, written once: docs/decisions/0017.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from worker.errors import Outcome
from worker.execution.attempt import Attempt, Known
from worker.execution.deciding import decide, limit_of
from worker.execution.order import in_order
from worker.messages import Message, digest_of
from worker.stores.arrays import pack
from worker.stores.round_trips import Statement, begin_with


@contextmanager
def claim(engine: Engine, task: str, attempts: Sequence[Attempt]) -> Iterator[tuple[Connection, datetime]]:
    """Begin a transaction that locks the rows of a batch's known jobs, in id order; yields it and its time.

    Afterwards each attempt is either to be run, or repeats a job that has ended or comes earlier in the batch,
    or conflicts with one, or is refused for itself beside one, or has been rejected as expired.
    """
    with begin_with(engine, _take(in_order({attempt.job_id for attempt in attempts}))) as (connection, (rows,)):
        now: datetime = rows[0][0]
        known = {row[0]: _known(*row) for _, *row in rows if row[0] is not None}
        standing: dict[UUID, Attempt] = {}
        for attempt in _soundest_first(attempts):
            decide(attempt, task, known.get(attempt.job_id), standing, now)
        yield connection, now


def _take(ids: Sequence[UUID]) -> Statement:
    """What locks those that are known. The transaction's time comes with each, and alone where there is none."""
    return Statement(
        """
        WITH known AS (
            SELECT id, task, task_id, digest, state, data, attempts, failures, replays, deadline,
                   CASE jsonb_typeof(headers) WHEN 'object' THEN headers ELSE '{}' END AS headers,
                   CASE WHEN digest IS NULL THEN body END AS unread
            FROM trivet.jobs WHERE id = ANY(%(id)b::uuid[]) ORDER BY id FOR UPDATE)
        SELECT now(), known.* FROM (SELECT) AS once LEFT JOIN known ON true
        """,
        {"id": pack("uuid", ids)},
    )


def _soundest_first(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Of several messages of one job, the one that stands for it is sound, and has the most time.

    The others would end a job that was asked for in due form.
    """
    if len({attempt.job_id for attempt in attempts}) == len(attempts):
        return attempts
    forever = datetime.max.replace(tzinfo=UTC)
    return sorted(attempts, key=lambda each: (each.unsound, forever - (limit_of(each) or forever)))


def _known(id_: UUID, task: str, task_id: str, digest: bytes, state: str, data: Any, *row: Any) -> Known:
    attempts, failures, replays, deadline, headers, unread = row
    if unread is not None:
        # Enqueued by SQL, and nobody has read its payload yet.
        digest = digest_of(Message(task, task_id, unread, headers=headers))
    return Known(
        id_, task, task_id, digest, Outcome(state), data or {}, attempts, failures, replays, deadline, headers
    )
