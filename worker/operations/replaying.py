"""An operator's word on what is parked: once more, or never again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, select

from worker.errors import Rejected, Unreadable
from worker.execution.job import JOBS
from worker.execution.ledger import DEFAULT_DEADLINE, jobs
from worker.execution.resending import message_of
from worker.execution.upcasting import version_of
from worker.messages import Message, raw_digest, read_payload
from worker.operations.parked import IS_PARKED
from worker.operations.trouble import postgres_trouble

PORTION: Final = 100
"""Jobs in one transaction: their raw messages are in memory together."""


@dataclass(slots=True)
class Settled:
    """What an order came to: jobs and effects that obeyed it, and why others did not, by job id."""

    jobs: int = 0
    effects: int = 0
    refused: dict[UUID, str] = field(default_factory=dict)


def replay(engine: Engine, ids: Sequence[UUID]) -> Settled:
    """Let parked jobs run again under the same ids, from the beginning, and owe parked effects again.

    A job goes back to `accepted`, due at once, in one transaction; a worker sends it to its queue. Two that order
    it at the same time replay it once. The task modules must have been imported: what this version cannot read,
    and a task that it does not know, is refused.
    """
    return _in_portions(engine, ids, _replay)


def drop(engine: Engine, ids: Sequence[UUID]) -> Settled:
    """Give parked jobs up for good, and forget parked effects.

    The raw message and its headers are gone then. The row stays, so that a late duplicate finds its job ended.
    """
    return _in_portions(engine, ids, _drop)


def _in_portions(
    engine: Engine, ids: Sequence[UUID], order: Callable[[Connection, list[UUID], Settled], None]
) -> Settled:
    settled = Settled()
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), PORTION):
        with postgres_trouble(), engine.begin() as connection:
            order(connection, wanted[start : start + PORTION], settled)
    return settled


def _replay(connection: Connection, ids: list[UUID], settled: Settled) -> None:
    parked = connection.execute(
        # In the order in which a batch claims them, so that nobody waits in a ring.
        select(jobs).where(jobs.c.id.in_(ids), IS_PARKED).order_by(jobs.c.id).with_for_update()
    ).all()
    digests = _digests(parked, settled)
    connection.exec_driver_sql(
        """
        UPDATE trivet.jobs AS job
        SET state = 'accepted', replays = replays + 1, attempts = 0, failures = 0, digest = new.digest, data = NULL,
            headers = headers - '{deadline,expires}'::text[], deadline = now() + %(allowed)s::interval,
            due_at = now(), ended_at = NULL
        FROM unnest(%(id)s::uuid[], %(digest)s::bytea[]) AS new (id, digest)
        WHERE job.id = new.id
        """,
        {"allowed": DEFAULT_DEADLINE, "id": list(digests), "digest": list(digests.values())},
    )
    effects = connection.exec_driver_sql(
        "UPDATE trivet.outbox SET parked_at = NULL, due_at = NULL, attempts = 0"
        " WHERE job_id = ANY(%s) AND parked_at IS NOT NULL RETURNING job_id",
        (ids,),
    )
    _settle(connection, settled, ids, {row.id for row in parked}, [row.job_id for row in effects])
    settled.jobs += len(digests)


def _drop(connection: Connection, ids: list[UUID], settled: Settled) -> None:
    dropped = connection.exec_driver_sql(
        "UPDATE trivet.jobs SET body = NULL, headers = NULL, dropped_at = now()"
        " WHERE id IN (SELECT id FROM trivet.jobs WHERE id = ANY(%s) AND state = 'parked' AND dropped_at IS NULL"
        " ORDER BY id FOR UPDATE) RETURNING id",
        (ids,),
    )
    found = {row.id for row in dropped}
    effects = connection.exec_driver_sql(
        "DELETE FROM trivet.outbox WHERE job_id = ANY(%s) AND parked_at IS NOT NULL RETURNING job_id", (ids,)
    )
    _settle(connection, settled, ids, found, [row.job_id for row in effects])
    settled.jobs += len(found)


def _digests(parked: Sequence[Any], settled: Settled) -> dict[UUID, bytes]:
    """The digest of each job that can be replayed, as a worker will compute it; the others are refused.

    One that was parked unread, by a version that could not read it, has another digest now.
    """
    digests = {}
    for row in parked:
        try:
            digests[row.id] = _digest(message_of(row))
        except Unreadable as error:
            settled.refused[row.id] = str(error)
    return digests


def _digest(message: Message) -> bytes:
    if message.task not in JOBS:
        raise Unreadable(_no_such_task(message.task))
    version_of(JOBS[message.task], message.headers)
    try:
        return read_payload(message).digest
    except Rejected:  # it can run, and will be rejected
        return raw_digest(message)


def _no_such_task(task: str) -> str:
    if task == "unreadable":
        return "its bytes are no message (`trivet parked show ID --raw`): send the job anew, and drop this"
    return f"no job is named {task} here: replay it with a version that has it"


def _settle(
    connection: Connection, settled: Settled, ids: list[UUID], parked: set[UUID], effects: list[UUID]
) -> None:
    settled.effects += len(effects)
    others = [job_id for job_id in ids if job_id not in parked.union(effects)]
    states = {
        row.id: f"it was dropped at {row.dropped_at:%Y-%m-%d %H:%M:%S} UTC"
        if row.dropped_at
        else f"it is {row.state}"
        for row in connection.execute(
            select(jobs.c.id, jobs.c.state, jobs.c.dropped_at).where(jobs.c.id.in_(others))
        )
    }
    for job_id in others:
        settled.refused[job_id] = f"not parked: {states.get(job_id, 'the ledger does not have it')}"
