"""The shards and their turns: for each shard, how many turns that published events have committed.

Redis is told the same number with the events of a turn. When it knows a lower one, it has lost events.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import BigInteger, Column, Connection, SmallInteger, Table

from worker.delivery.outbox import LOCK_SPACE, SHARDS
from worker.stores.resources import Resources
from worker.stores.schema import metadata

RECOVERY = SHARDS
"""The advisory lock, beside those of the shards, of whoever appends lost events again."""

shards = Table(
    "shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("turn", BigInteger, nullable=False, server_default="0"),
)


def committed_turns(connection: Connection) -> list[int]:
    """The turn of each shard, in order; to be asked once the locks are held, in a statement of its own."""
    found = connection.exec_driver_sql("SELECT turn FROM trivet.shards ORDER BY shard")
    return [row.turn for row in found]


def count_turn(connection: Connection, shard: int) -> None:
    """Count a turn that has published, under a shard that it holds: one row is enough for all of its shards."""
    connection.exec_driver_sql("UPDATE trivet.shards SET turn = turn + 1 WHERE shard = %s", (shard,))


def lock_every_shard(connection: Connection) -> bool:
    """Wait for the turns under way, and keep others out until the transaction ends.

    False when somebody else is at it. Turns never wait for a shard that they do not get, so this cannot lock up.
    """
    alone: bool = connection.exec_driver_sql(
        "SELECT pg_try_advisory_xact_lock(%s, %s)", (LOCK_SPACE, RECOVERY)
    ).scalar_one()
    if alone:
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(%s, shard) FROM generate_series(0, %s) AS shard", (LOCK_SPACE, SHARDS - 1)
        )
    return alone


def are_behind(known: Sequence[int], committed: Sequence[int]) -> bool:
    """Whether Redis knows less than PostgreSQL of any shard."""
    return any(there < here for there, here in zip(known, committed, strict=True))


@contextmanager
def turn_transaction(given: Resources) -> Iterator[Connection]:
    """A transaction that may be silent while the stores answer, and whose commit need not reach the disk."""
    with given.engine.begin() as connection:
        # Repeating a delivery is harmless, so the commit need not wait for the disk; and the transaction stays
        # silent while the stores answer, for longer than a batch may.
        connection.exec_driver_sql(
            "SELECT set_config('synchronous_commit', 'off', true),"
            " set_config('idle_in_transaction_session_timeout', %s, true)",
            (f"{int(_patience_s(given) * 1000)}ms",),
        )
        yield connection


def _patience_s(given: Resources) -> float:
    """A minute: several times what the timeouts of MongoDB and Redis let one turn wait; at least a lease."""
    return max(60.0, given.settings.lease_s)
