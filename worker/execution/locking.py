"""Every row that a batch declared is locked and loaded before its first body runs, in one order for all batches."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, inspect, literal, select
from sqlalchemy.orm import Session

from worker.execution.attempt import Attempt
from worker.execution.job import Job
from worker.execution.unit_of_work import LoadedRows


def lock(session: Session, job: Job[Any, Any], attempts: Sequence[Attempt]) -> LoadedRows:
    """Lock by table name, then by id, one statement a table: two batches can never wait for each other in a ring.

    `FOR NO KEY UPDATE`: a foreign key that points at a locked row need not wait.
    """
    wanted: dict[type[Any], set[UUID]] = defaultdict(set)
    for attempt in attempts:
        for row, key in job.locks(attempt.command):
            wanted[row].add(key)
    loaded: dict[tuple[type[Any], UUID], Any] = {}
    for row in sorted(wanted, key=lambda row: str(inspect(row).local_table)):
        loaded |= _lock_rows(session, row, sorted(wanted[row]))
    return loaded


def _lock_rows(session: Session, row: type[Any], keys: Sequence[UUID]) -> LoadedRows:
    (key,) = inspect(row).primary_key
    ours = select(row).where(key == any_(literal(keys, ARRAY(Uuid)))).order_by(key)
    found = session.scalars(ours.with_for_update(key_share=True))
    present = {getattr(instance, key.name): instance for instance in found}
    return {(row, wanted): present.get(wanted) for wanted in keys}
