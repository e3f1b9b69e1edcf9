"""What is parked: jobs and effects that were given up and wait for an operator; read, never written."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Engine, and_, func, select

from worker.delivery.outbox import Lane, outbox
from worker.errors import Outcome, Rejected, Unreadable
from worker.execution.ledger import jobs
from worker.execution.resending import message_of
from worker.messages import Message, read_payload
from worker.operations.listing import named
from worker.operations.trouble import postgres_trouble
from worker.redaction import redact

IS_PARKED: Final = and_(jobs.c.state == Outcome.PARKED, jobs.c.dropped_at.is_(None))
IS_GIVEN_UP: Final = outbox.c.parked_at.is_not(None)


@dataclass(frozen=True, slots=True)
class ParkedJob:
    """A job that was given up, and why; `size` is that of its raw message, in bytes."""

    id: UUID
    task: str
    code: str | None
    message: str | None
    attempts: int
    replays: int
    size: int
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedEffect:
    """A part of what follows a job, given up: the job itself has ended. `size` is in bytes."""

    job_id: UUID
    task: str
    lane: str
    error: str | None
    attempts: int
    size: int
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a parked job to send it again."""

    message: Message

    @property
    def payload(self) -> Any:
        """The payload without secrets, or None where it cannot be decoded."""
        try:
            return _without_secrets(orjson.loads(read_payload(self.message).canonical))
        except (Rejected, Unreadable):
            return None

    @property
    def text(self) -> str:
        """The raw message as text, its odd bytes as escapes, without secrets."""
        return redact(self.message.body.decode(errors="backslashreplace"))

    @property
    def headers(self) -> Any:
        """What the producer set, who waits for the result, without secrets."""
        return _without_secrets(dict(self.message.headers))


def parked_jobs(engine: Engine, task: str = "*", limit: int | None = None) -> list[ParkedJob]:
    """The jobs that are parked, the newest first; `task` may hold `*` and `?`."""
    wanted = (
        select(
            jobs.c.id,
            jobs.c.task,
            jobs.c.data["code"].astext.label("code"),
            jobs.c.data["message"].astext.label("message"),
            jobs.c.attempts,
            jobs.c.replays,
            func.length(jobs.c.body).label("size"),
            jobs.c.ended_at.label("parked_at"),
        )
        .where(IS_PARKED, named(task))
        .order_by(jobs.c.ended_at.desc())
        .limit(limit)
    )
    with postgres_trouble(), engine.connect() as connection:
        return [ParkedJob(*row) for row in connection.execute(wanted)]


def parked_effects(engine: Engine, task: str = "*", limit: int | None = None) -> list[ParkedEffect]:
    """The effects that are parked, the newest first; `task` is that of the job that owes them."""
    wanted = (
        select(
            outbox.c.job_id,
            jobs.c.task,
            outbox.c.lane,
            outbox.c.error,
            outbox.c.attempts,
            outbox.c.size,
            outbox.c.parked_at,
        )
        .join(jobs, jobs.c.id == outbox.c.job_id)
        .where(IS_GIVEN_UP, named(task))
        .order_by(outbox.c.parked_at.desc())
        .limit(limit)
    )
    with postgres_trouble(), engine.connect() as connection:
        return [
            ParkedEffect(
                **row._asdict() | {"lane": Lane(row.lane).name.lower(), "error": redact(row.error or "") or None}
            )
            for row in connection.execute(wanted)
        ]


def parked_ids(engine: Engine, task: str) -> list[UUID]:
    """The ids of the jobs that are parked or have a parked effect; `task` may hold `*` and `?`."""
    given_up = select(outbox.c.job_id).join(jobs, jobs.c.id == outbox.c.job_id).where(IS_GIVEN_UP, named(task))
    wanted = select(jobs.c.id).where(IS_PARKED, named(task)).union(given_up)
    with postgres_trouble(), engine.connect() as connection:
        return sorted(connection.scalars(wanted))


def kept(engine: Engine, job_id: UUID) -> Kept | None:
    """What is kept of a job to send it again, or None when it is not parked."""
    wanted = select(jobs.c.task, jobs.c.task_id, jobs.c.body, jobs.c.headers).where(jobs.c.id == job_id, IS_PARKED)
    with postgres_trouble(), engine.connect() as connection:
        row = connection.execute(wanted).one_or_none()
    return Kept(message_of(row)) if row is not None else None


def _without_secrets(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {key: _without_secrets(item) for key, item in value.items()}
        case list():
            return [_without_secrets(item) for item in value]
    return value
