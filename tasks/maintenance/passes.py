"""Passes over the documents that take several jobs: each goes on where the one before it stopped.

A pass belongs to the job that was asked for. What it has come to is taken by the job that it has enqueued, in the
transaction of what that one finds: position and findings commit together, or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import delete, insert

from tasks.maintenance.comparing import START, Position, Step
from tasks.model.reconciliations import Reconciliation
from worker import UnitOfWork

_AT_ONCE: Final = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass: when it began, where to go on, and what it has found so far, as JSON."""

    began_at: datetime
    position: Position
    found: str | None


def take_up(work: UnitOfWork, jobs: Sequence[UUID]) -> Pass:
    """Take from the table the pass that the one job goes on with; a new pass when there is none, or more jobs.

    Who asks anew wants to know of everything. Asked together with that, a job that was to go on is answered by it.
    """
    _forget_lost(work)
    these = delete(Reconciliation).where(Reconciliation.next_job.in_(jobs))
    found = work.session.execute(these.returning(Reconciliation), execution_options=_AT_ONCE).scalars().all()
    if len(jobs) > 1 or not found:
        return Pass(work.now, START, None)
    (one,) = found
    position = Position(cast("Step", one.step), one.collection, one.place)
    return Pass(one.began_at, position, one.found)


def save(work: UnitOfWork, begun: Pass, position: Position, next_job: UUID, found: str) -> None:
    """Keep how far a pass has come, for the job that goes on with it."""
    kept = insert(Reconciliation).values(
        next_job=next_job,
        began_at=begun.began_at,
        saved_at=work.now,
        step=position.step,
        collection=position.collection,
        place=position.place,
        found=found,
    )
    work.session.execute(kept)


def _forget_lost(work: UnitOfWork) -> None:
    """Those whose next job was lost, with Redis' data, or dropped by an operator."""
    lost: Any = delete(Reconciliation).where(Reconciliation.saved_at < work.past.since)
    work.session.execute(lost, execution_options=_AT_ONCE)
