"""Prune: forget what the retention has passed, a portion a job, in an order in which nothing comes back."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import InstrumentedAttribute

from tasks.maintenance.once import once
from tasks.maintenance.tombstones import sweep_tombstones
from tasks.model import Hold
from tasks.model.projections import PROJECTIONS
from tasks.model.sessions import Session
from worker import Command, Crontab, Rejected, Result, Schedule, UnitOfWork, job

PORTION: Final = 5_000
"""Of each kind, how many go in one transaction."""


class Prune(Command):
    """Forget what the retention has passed."""


class Pruned(Result):
    """What was removed; with `more`, another job goes on with the rest."""

    tombstones: int
    jobs: int
    conflicts: int
    sessions: int
    holds: int
    more: bool


@job("maintenance.prune", schedule=Schedule(Crontab("20 2 * * *")))
def prune(_command: Prune, work: UnitOfWork) -> Pruned:
    """Take a portion of each kind. Jobs come last: by their sequences it is known how old a tombstone is."""
    tombstones = sweep_tombstones(PROJECTIONS, work, PORTION)
    swept_all = tombstones < PORTION
    removed = {
        "tombstones": tombstones,
        "jobs": work.past.forget_jobs(PORTION) if swept_all else 0,
        "conflicts": work.past.forget_conflicts(PORTION),
        "sessions": _forget(work, Session.token_hash, func.least(Session.expires_at, Session.revoked_at)),
        "holds": _forget(work, Hold.id, Hold.resolved_at),
    }
    more = PORTION in removed.values()
    if more:
        work.enqueue(Prune())
    return Pruned(**removed, more=more)


@prune.batch
def prune_once(asked: Sequence[tuple[Prune, UnitOfWork]]) -> Sequence[Result | Rejected]:
    """Many who ask at the same time get one answer."""
    return once(prune, asked)


def _forget(work: UnitOfWork, key: InstrumentedAttribute[Any], over_at: Any) -> int:
    """Remove rows that were over before the retention, those that nobody has locked; returns how many.

    A null is never before anything: what is not over stays.
    """
    old = select(key).where(over_at < work.past.since).limit(PORTION).with_for_update(skip_locked=True)
    keys = work.session.scalars(old).all()
    if keys:
        work.session.execute(
            delete(key.class_).where(key.in_(keys)), execution_options={"synchronize_session": False}
        )
    return len(keys)
