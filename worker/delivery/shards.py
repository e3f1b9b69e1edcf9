"""The shards and their turns: for each shard, how many turns that published events have committed.

Redis is told the same number with the events of a turn. When it knows a lower one, it has lost events.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, SmallInteger, Table

from worker.delivery.outbox import LOCK_SPACE, SHARDS
from worker.settings import Settings
from worker.stores.resources import Resources
from worker.stores.schema import metadata

RECOVERY = SHARDS
"""The advisory lock, beside those of the shards, of whoever appends lost events again."""

AT_EASE: Final = (
    "set_config('synchronous_commit', 'off', true),"
    " set_config('idle_in_transaction_session_timeout', %(patience_ms)s::text, true)"
)
"""To be selected: the transaction may be silent while the stores answer, and its commit need not reach the disk.

To repeat a delivery is harmless, so its commit need not wait; and the stores may take longer than a batch may.
"""

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
    """A transaction that goes on `AT_EASE`."""
    with given.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT {AT_EASE}", {"patience_ms": int(patience_s(given.settings) * 1000)})
        yield connection


def patience_s(settings: Settings) -> float:
    """A minute: several times what the timeouts of MongoDB and Redis let one turn wait; at least a lease."""
    return max(60.0, settings.lease_s)
