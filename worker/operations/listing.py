"""The newest of many jobs; read from the ledger, never written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, Select, select, union_all

from worker.errors import Outcome
from worker.execution.ledger import jobs
from worker.operations.trouble import postgres_trouble


@dataclass(frozen=True, slots=True)
class Listed:
    """One job in a list: nothing that it carries, only what became of it; `code` says why it did not succeed."""

    id: UUID
    task: str
    state: Outcome
    code: str | None
    attempts: int
    first_seen: datetime
    due_at: datetime | None
    ended_at: datetime | None


def newest(engine: Engine, *, state: Outcome | None = None, task: str | None = None, limit: int) -> list[Listed]:
    """The jobs that ended last, and those that have not ended and came last, newest first."""
    with postgres_trouble(), engine.connect() as connection:
        rows = connection.execute(listing(state, task, limit))
        return [Listed(**row._asdict() | {"state": Outcome(row.state)}) for row in rows]


def listing(state: Outcome | None, task: str | None, limit: int) -> Select[*tuple[Any, ...]]:
    """The query of `newest`; `task` may hold `*` and `?`.

    Each branch walks an index backwards until it has enough, so the size of the ledger does not matter.
    """
    wanted = [named(task)] if task is not None else []
    branches = []
    if state is None or state.ended:
        ended = [jobs.c.ended_at.is_not(None), *([jobs.c.state == state] if state else [])]
        branches.append(_branch(jobs.c.ended_at, [*ended, *wanted], limit))
    branches += [
        _branch(jobs.c.first_seen, [jobs.c.state == open_state, *wanted], limit)
        for open_state in Outcome
        if not open_state.ended and state in {None, open_state}
    ]
    found = union_all(*branches).subquery()
    listed = [column for column in found.c if column is not found.c.newest]
    return select(*listed).order_by(found.c.newest.desc()).limit(limit)


def named(glob: str) -> ColumnElement[bool]:
    """Whether a job's task has this name, in which `*` and `?` stand for others."""
    escaped = glob.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return jobs.c.task.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")


_LISTED: Final = (
    jobs.c.id,
    jobs.c.task,
    jobs.c.state,
    jobs.c.data["code"].astext.label("code"),
    jobs.c.attempts,
    jobs.c.first_seen,
    jobs.c.due_at,
    jobs.c.ended_at,
)


def _branch(by: ColumnElement[Any], wanted: Sequence[ColumnElement[bool]], limit: int) -> Select[*tuple[Any, ...]]:
    first = select(*_LISTED, by.label("newest")).where(*wanted).order_by(by.desc()).limit(limit)
    return select(first.subquery())
