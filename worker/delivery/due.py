"""What is due of the outbox: a turn locks shards, reads what they owe, and strikes off what it has delivered."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine

from worker.delivery.outbox import LOCK_SPACE, Lane
from worker.delivery.shards import AT_EASE
from worker.stores.arrays import pack
from worker.stores.round_trips import Statement, begin_with

TURN_ROWS: Final = 1_000
"""Rows that a turn carries of each lane, at most."""

TURN_BYTES: Final = 16 * 1024 * 1024
"""Bytes that it carries of each lane, if it is more than one row."""


class Due(NamedTuple):
    """One row that a turn has read; `id` is the version of its documents and the sequence of its event."""

    id: int
    job_id: UUID
    subject: str
    shard: int
    size: int
    attempts: int
    effects: str | None
    documents: Sequence[bytes] | None
    event: str | None


class Found(NamedTuple):
    """The shards that are held, their rows that are due, and the committed turns of all: none without a row."""

    held: Sequence[int]
    rows: Mapping[Lane, Sequence[Due]]
    committed: Sequence[int]


@contextmanager
def begin_turn(
    engine: Engine, lanes: Iterable[Lane], shards: Iterable[int], patience_s: float
) -> Iterator[tuple[Connection, Found]]:
    """A transaction that takes the shards that nobody else is delivering, and what they owe in these lanes.

    It goes on `AT_EASE`, and holds the shards until it ends.
    """
    with begin_with(engine, _lock(shards, patience_s), _read(lanes)) as (connection, (locked, due)):
        ((held, *_),) = locked
        yield connection, _found(held, due)


def _lock(shards: Iterable[int], patience_s: float) -> Statement:
    """Takes the shards, in a statement of its own: only so does the read see all that the last holder left.

    It tells the read by a setting of the transaction which ones it got: so both go out together.
    """
    return Statement(
        f"""
        WITH held AS MATERIALIZED (
            SELECT array_agg(shard) AS shards FROM unnest(%(shards)s::integer[]) AS shard
            WHERE pg_try_advisory_xact_lock(%(space)s, shard))
        SELECT coalesce(shards, '{{}}'), set_config('trivet.held', coalesce(shards, '{{}}')::text, true), {AT_EASE}
        FROM held
        """,  # noqa: S608 - a constant
        {"shards": sorted(shards), "space": LOCK_SPACE, "patience_ms": int(patience_s * 1000)},
    )


def _read(lanes: Iterable[Lane]) -> Statement:
    """Reads what they owe, in id order, up to a turn's limits of rows and bytes a lane (but at least one row).

    Read by state, never past a cursor: ids commit out of order. In the document lane a row that waits after
    a failure holds back the later rows of its subject. The turns come with one of the rows, in the same round trip.
    """
    return Statement(
        """
        SELECT asked.lane,
               CASE row_number() OVER ()
                   WHEN 1 THEN ARRAY(SELECT turn FROM trivet.shards ORDER BY shard) END AS committed,
               id, job_id, subject, shard, size, attempts, effects, documents, event
        FROM unnest(%(lanes)s::smallint[]) AS asked (lane), LATERAL (
            SELECT *, sum(size) OVER (ORDER BY id) - size AS carried
            FROM (SELECT id, job_id, subject, shard, size, attempts, effects, documents, event
                  FROM trivet.outbox AS mine
                  WHERE lane = asked.lane AND shard = ANY(current_setting('trivet.held')::smallint[])
                    AND parked_at IS NULL
                    AND (due_at IS NULL OR due_at <= statement_timestamp())
                    AND (asked.lane = 0 OR NOT EXISTS (
                        SELECT FROM trivet.outbox AS waiting
                        WHERE waiting.subject = mine.subject AND waiting.id < mine.id AND waiting.lane = 1
                          AND waiting.due_at > statement_timestamp() AND waiting.parked_at IS NULL))
                  ORDER BY id LIMIT %(rows)s) AS first) AS weighed
        WHERE carried < %(bytes)s ORDER BY lane, id
        """,
        {"lanes": list(map(int, lanes)), "rows": TURN_ROWS, "bytes": TURN_BYTES},
    )


def _found(held: Sequence[int], read: Iterable[tuple[Any, ...]]) -> Found:
    committed: Sequence[int] = ()
    rows: dict[Lane, list[Due]] = {lane: [] for lane in Lane}
    for lane, turns, *row in read:
        committed = committed or turns
        rows[lane].append(Due._make(row))
    return Found(held, rows, committed)


def strike_off(delivered: Iterable[Due], counted_under: int | None) -> Statement:
    """What forgets what has been delivered, and counts a turn that published, under one of the shards it holds."""
    return Statement(
        """
        -- No shard: nothing was published, so no turn is counted.
        WITH counted AS (UPDATE trivet.shards SET turn = turn + 1 WHERE shard = %(shard)s)
        DELETE FROM trivet.outbox WHERE id = ANY(%(delivered)b::bigint[])
        """,
        {"shard": counted_under, "delivered": pack("bigint", [row.id for row in delivered])},
    )


def postpone(connection: Connection, row: Due, error: str, delay_s: float) -> None:
    """Let a row wait after a failure of its own."""
    connection.exec_driver_sql(
        "UPDATE trivet.outbox SET attempts = attempts + 1, error = %s,"
        " due_at = clock_timestamp() + make_interval(secs => %s) WHERE id = %s",
        (error, delay_s, row.id),
    )


def park(connection: Connection, row: Due, error: str) -> None:
    """Give a row up: it stays for an operator to see and holds back nobody."""
    connection.exec_driver_sql(
        "UPDATE trivet.outbox SET attempts = attempts + 1, error = %s, parked_at = clock_timestamp() WHERE id = %s",
        (error, row.id),
    )
