"""Enqueueing in the caller's own transaction: the job is a row first, and is there only if that commits."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, TIMESTAMP, UUID
from sqlalchemy.orm import Session

from worker.errors import IdempotencyConflict
from worker.execution.attempt import Attempt
from worker.messages import deadline

_ACCEPT: Final = text(
    "SELECT trivet.accept(:job_id, :task, :task_id, :body, :digest, :headers, :deadline, :run_at)"
).bindparams(
    bindparam("job_id", type_=UUID()),
    bindparam("body", type_=BYTEA()),
    bindparam("digest", type_=BYTEA()),
    bindparam("headers", type_=JSONB()),
    bindparam("deadline", type_=TIMESTAMP(timezone=True)),
    bindparam("run_at", type_=TIMESTAMP(timezone=True)),
)


def accept(transaction: Session | Connection, attempt: Attempt, run_at: datetime | None) -> None:
    """Write a job that has been checked into the ledger, to be sent when the transaction has committed.

    It starts at `run_at`, or at once. A job that is there already, with the same payload, stays as it is. Raises
    `IdempotencyConflict` when its payload or task is another one; the transaction can go on.
    """
    message = attempt.message
    row: dict[str, Any] = {
        "job_id": attempt.job_id,
        "task": message.task,
        "task_id": message.task_id,
        "body": message.body,
        "digest": attempt.digest,
        "headers": dict(message.headers),
        "deadline": deadline(message.headers),
        "run_at": run_at,
    }
    if not transaction.execute(_ACCEPT, row).scalar_one():
        raise IdempotencyConflict(f"job {attempt.job_id} has another payload or task")
