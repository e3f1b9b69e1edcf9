"""Jobs that were sent from the ledger are numbered, in PostgreSQL and in Redis, so that what Redis lost is known.

The script that pushes a job counts it in Redis, and the number is stored with the job's row. A job that is in the
hands of Redis has a number, is not due and has not ended. When the counter of Redis is behind PostgreSQL's number,
Redis has lost the jobs above its counter. Just these become due again, however many others wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import structlog
from redis import Redis
from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Connection, Table

from worker.stores.redis_errors import redis_trouble
from worker.stores.resources import Resources
from worker.stores.schema import metadata

COUNTER: Final = "trivet:sent"
"""The key of Redis' counter."""

PORTION: Final = 500
"""Lost jobs that become due again at a time."""

sends = Table(
    "sends",
    metadata,
    Column("single", Boolean, primary_key=True, server_default="true"),
    Column("number", BigInteger, nullable=False, server_default="0", comment="of the job sent last"),
    Column("lost_above", BigInteger, comment="what was sent after this number is lost,"),
    Column("lost_to", BigInteger, comment="up to this one, and is sent again"),
    CheckConstraint("single", name="single"),
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sends:
    """What PostgreSQL knows of the sends: the last number, and the numbers that are lost, if any."""

    number: int
    lost_above: int | None
    lost_to: int | None


def lock_sends(connection: Connection) -> Sends | None:
    """Keep others from sending until the transaction ends; None when somebody else is at it."""
    row = connection.exec_driver_sql(
        "SELECT number, lost_above, lost_to FROM trivet.sends FOR UPDATE SKIP LOCKED"
    ).one_or_none()
    return None if row is None else Sends(*row)


def push(redis: Redis, known: int, queue_max: int, messages: Sequence[tuple[str, bytes]]) -> list[int] | None:
    """Push messages to their queues; returns the number of each, 0 where the queue takes no more.

    None, and nothing is done, when Redis knows of fewer sends than are `known`. Raises `StoreUnavailable`.
    """
    queues = sorted({queue for queue, _ in messages})
    told = (part for queue, message in messages for part in (queues.index(queue) + 1, message))
    numbers: list[int] | None = _run(redis, "send", queues, known, queue_max, *told)
    return numbers


def note_sent(connection: Connection, ids: Sequence[Any], numbers: Sequence[int], again_s: float) -> None:
    """Write down what was sent; what was not, because its queue is full, is due again in `again_s` seconds."""
    connection.exec_driver_sql(
        """
        UPDATE trivet.jobs AS job
        SET sent = coalesce(new.number, job.sent),
            due_at = CASE WHEN new.number IS NULL THEN clock_timestamp() + make_interval(secs => %s) END
        FROM unnest(%s::uuid[], %s::bigint[]) AS new (id, number)
        WHERE job.id = new.id
        """,
        (again_s, list(ids), [number or None for number in numbers]),
    )
    connection.exec_driver_sql("UPDATE trivet.sends SET number = greatest(number, %s)", (max(numbers),))


def make_lost_due(connection: Connection, known: Sends) -> None:
    """Make some of the lost jobs due again, and forget the loss when none is left.

    One that somebody is running just now is left to him: it ends, or it is still there the next time.
    """
    made = connection.exec_driver_sql(
        """
        UPDATE trivet.jobs SET due_at = clock_timestamp()
        WHERE id IN (SELECT id FROM trivet.jobs
                     WHERE sent > %s AND sent <= %s AND due_at IS NULL AND ended_at IS NULL
                     ORDER BY sent LIMIT %s FOR UPDATE SKIP LOCKED)
        """,
        (known.lost_above, known.lost_to, PORTION),
    )
    if not made.rowcount:
        connection.exec_driver_sql(
            """
            UPDATE trivet.sends SET lost_above = NULL, lost_to = NULL
            WHERE NOT EXISTS (SELECT FROM trivet.jobs
                              WHERE sent > lost_above AND sent <= lost_to AND due_at IS NULL AND ended_at IS NULL)
            """
        )


def note_loss(given: Resources) -> bool:
    """Find out whether Redis lost jobs that were sent, and write down which; says whether it did.

    Raises `StoreUnavailable`.
    """
    # An ordinary transaction: its commit must be on the disk before Redis is told that all is known.
    with given.engine.begin() as connection:
        known = lock_sends(connection)
        if known is None:
            return False
        counted = _counted(given.redis)
        if counted >= known.number:
            return False
        connection.exec_driver_sql(
            "UPDATE trivet.sends SET lost_above = least(lost_above, %s), lost_to = number", (counted,)
        )
    _run(given.redis, "catch_up", (), counted, known.number)
    _log.warning("jobs.lost", counted=counted, sent=known.number)
    return True


def _counted(redis: Redis) -> int:
    with redis_trouble():
        counted: Any = redis.get(COUNTER)
    return int(counted or 0)


def _run(redis: Redis, name: str, queues: Sequence[str], *arguments: int | bytes) -> Any:
    with redis_trouble():
        return redis.register_script(_source(name))(keys=[COUNTER, *queues], args=arguments)


@cache
def _source(name: str) -> bytes:
    return files("worker.execution").joinpath("scripts", f"{name}.lua").read_bytes()
