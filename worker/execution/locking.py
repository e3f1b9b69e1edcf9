"""Every row that a batch declared is locked and loaded before its first body runs, in one order for all batches."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, any_, bindparam, inspect, literal, select
from sqlalchemy.orm import Session

from worker.execution.attempt import Attempt
from worker.execution.job import Job, Lock, Through
from worker.execution.order import in_order
from worker.execution.unit_of_work import LoadedRows


def lock(session: Session, job: Job[Any, Any], attempts: Sequence[Attempt]) -> LoadedRows:
    """Lock by table name, then by id, one statement a table: two batches can never wait for each other in a ring.

    `FOR NO KEY UPDATE`: a foreign key that points at a locked row need not wait.
    """
    wanted: dict[type[Any], set[Any]] = defaultdict(set)
    _name_rows(session, job, attempts)
    for attempt in attempts:
        for row, key in attempt.locks:
            wanted[row].add(key)
    loaded: dict[tuple[type[Any], UUID | str], Any] = {}
    for row in sorted(wanted, key=lambda row: str(inspect(row).local_table)):
        loaded |= _lock_rows(session, row, in_order(wanted[row]))
    return loaded


def _name_rows(session: Session, job: Job[Any, Any], attempts: Sequence[Attempt]) -> None:
    """Find out which rows each attempt declares, those that others refer to included."""
    declared = [(attempt, list(job.locks(attempt.command))) for attempt in attempts]
    referred = _follow(session, {lock for _, locks in declared for lock in locks if isinstance(lock, Through)})
    for attempt, locks in declared:
        named = [referred.get(lock) if isinstance(lock, Through) else lock for lock in locks]
        attempt.locks = [lock for lock in named if lock is not None]


def _follow(session: Session, throughs: set[Through]) -> dict[Through, Lock]:
    """Where references lead: one statement for each column that is followed, without a lock."""
    found: dict[Through, Lock] = {}
    for row, column, target in {(each.row, each.column, each.target) for each in throughs}:
        (key,) = inspect(row).primary_key
        keys = [each.key for each in throughs if (each.row, each.column) == (row, column)]
        pairs = session.execute(
            select(key, getattr(row, column)).where(key == any_(literal(keys, ARRAY(key.type))))
        )
        found |= {Through(row, at, column, target): (target, leads_to) for at, leads_to in pairs}
    return found


def _lock_rows(session: Session, row: type[Any], keys: Sequence[UUID | str]) -> LoadedRows:
    (key,) = inspect(row).primary_key
    found = session.scalars(_select_for_update(row), {"keys": keys})  # type: ignore[arg-type]  # mypy: a type hashes
    present = {getattr(instance, key.name): instance for instance in found}
    return {(row, wanted): present.get(wanted) for wanted in keys}


@cache
def _select_for_update(row: type[Any]) -> Select[Any]:
    """Made once a table: to build it is a sixth of what locking the rows of one job costs."""
    (key,) = inspect(row).primary_key
    wanted = bindparam("keys", type_=ARRAY(key.type))
    return select(row).where(key == any_(wanted)).order_by(key).with_for_update(key_share=True)
