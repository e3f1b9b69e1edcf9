"""What became of one job, in full; read from the ledger, never written."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, Row, select

from worker.delivery.effects import DocumentChange
from worker.delivery.outbox import Lane, outbox
from worker.errors import Outcome
from worker.execution.ledger import conflicts, jobs
from worker.messages import derive_id
from worker.operations.trouble import postgres_trouble
from worker.redaction import redact


@dataclass(frozen=True, slots=True)
class Owed:
    """One row of the outbox: what a committed job still owes.

    `documents` are `collection/key`; `effects` counts what goes through the Redis lane, by kind.
    """

    id: int
    lane: str
    documents: Sequence[str]
    effects: dict[str, int]
    event: str | None
    attempts: int
    error: str | None
    owed_since: datetime
    due_at: datetime | None
    parked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """A message that was refused, because the job's id was taken by another payload or task."""

    task_id: str
    digest: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed."""

    at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Story:
    """One job in full. `data` is its result, or `{code, message, …}`; `digest` is in hexadecimal.

    It is None for a job that was enqueued by SQL, until a worker has tried it.
    """

    id: UUID
    task: str
    task_id: str
    digest: str | None
    state: Outcome
    subject: str | None
    data: dict[str, Any] | None
    attempts: int
    failures: int
    replays: int
    first_seen: datetime
    deadline: datetime
    due_at: datetime | None
    ended_at: datetime | None
    dropped_at: datetime | None
    history: Sequence[Failure]
    owes: Sequence[Owed]
    conflicts: Sequence[Conflict]

    @property
    def last_error(self) -> str | None:
        """Of its last attempt that failed."""
        return self.history[-1].error if self.history else None

    @property
    def owes_event(self) -> bool:
        """Whether its completion event is still to be published."""
        return any(owed.event is not None and owed.parked_at is None for owed in self.owes)


def find(engine: Engine, name: str, tasks: Iterable[str] = ()) -> list[UUID]:
    """The ids of the jobs that go by this name: a job id, an idempotency key, or a message's task id.

    `tasks` are those in which keys are looked for. An id or a key is found by the ledger's primary key; a task id
    that belongs to a job with a key costs a look through the whole ledger.
    """
    with postgres_trouble(), engine.connect() as connection:
        return _by_id(connection, name, tasks) or _by_task_id(connection, name)


def tell(engine: Engine, job_id: UUID) -> Story | None:
    """All that is known about a job, or None when the ledger does not have it."""
    with postgres_trouble(), engine.connect() as connection:
        # One snapshot: what a job owes must fit to its state.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
        return _story(connection, row) if row is not None else None


def _by_id(connection: Connection, name: str, tasks: Iterable[str]) -> list[UUID]:
    ids = [derive_id(task, name) for task in tasks]
    with suppress(ValueError):  # a key, or a task id that is no UUID
        ids.append(UUID(name))
    return list(connection.scalars(select(jobs.c.id).where(jobs.c.id.in_(ids)).order_by(jobs.c.id)))


def _by_task_id(connection: Connection, name: str) -> list[UUID]:
    own = select(jobs.c.id).where(jobs.c.task_id == name)
    refused = select(conflicts.c.job_id).where(conflicts.c.task_id == name)
    return sorted(set(connection.scalars(own.union(refused))))


def _story(connection: Connection, row: Row[Any]) -> Story:
    owes = connection.execute(select(outbox).where(outbox.c.job_id == row.id).order_by(outbox.c.id))
    refused = connection.execute(
        select(conflicts).where(conflicts.c.job_id == row.id).order_by(conflicts.c.seen_at)
    )
    return Story(
        id=row.id,
        task=row.task,
        task_id=row.task_id,
        digest=row.digest.hex() if row.digest else None,
        state=Outcome(row.state),
        subject=row.subject,
        data=row.data,
        attempts=row.attempts,
        failures=row.failures,
        replays=row.replays,
        first_seen=row.first_seen,
        deadline=row.deadline,
        due_at=row.due_at,
        ended_at=row.ended_at,
        dropped_at=row.dropped_at,
        history=[Failure(datetime.fromisoformat(past["at"]), redact(past["error"])) for past in row.history or ()],
        owes=[_owed(owed) for owed in owes],
        conflicts=[Conflict(seen.task_id, seen.digest.hex(), seen.seen_at) for seen in refused],
    )


def _owed(row: Row[Any]) -> Owed:
    changes = [DocumentChange.from_bson(raw) for raw in row.documents or ()]
    return Owed(
        id=row.id,
        lane=Lane(row.lane).name.lower(),
        documents=[f"{change.collection}/{change.key}" for change in changes],
        effects={kind: len(owed) for kind, owed in orjson.loads(row.effects or "{}").items()},
        event=orjson.loads(row.event)["type"] if row.event else None,
        attempts=row.attempts,
        error=redact(row.error) if row.error else None,
        owed_since=row.owed_since,
        due_at=row.due_at,
        parked_at=row.parked_at,
    )
