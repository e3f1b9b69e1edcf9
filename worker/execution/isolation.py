"""Running the bodies of a batch so that a job which fails harms no neighbour.

A set-based body runs once for all. Otherwise, or when it fails, all bodies run in one go, without a savepoint each:
a body that raises before it has asked for the session can have changed nothing but its declared rows, and those are
put back in memory. Where that is not enough, the batch starts again with a savepoint around each body; so many
rejections cost at most twice the work, never more than linear.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from worker.delivery.effects import Effects
from worker.delivery.redis_lane import RESULT_MAX
from worker.errors import Outcome, Rejected, TrivetError, Unavailable
from worker.execution.attempt import Attempt, Ending
from worker.execution.command import Result
from worker.execution.job import Job
from worker.execution.unit_of_work import LoadedRows, UnitOfWork
from worker.execution.verdict import judge
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.resources import Resources

SILENCE_S: Final = 0.3
"""How long the bodies of a batch may go on without a word to PostgreSQL: less than a third of any lease."""

Perform = Callable[[Job[Any, Any], Session, Sequence[Attempt], datetime, LoadedRows, Resources], None]


class CannotUndo(TrivetError):
    """A body failed after it had written: its batch starts again, in a way that keeps its jobs further apart."""


def ways(job: Job[Any, Any]) -> Sequence[Perform]:
    """The ways to run this job's batches, the fastest first; each later one isolates more."""
    return (together, one_by_one) if job.set_body is None else (as_a_set, together, one_by_one)


def as_a_set(
    job: Job[Any, Any],
    session: Session,
    attempts: Sequence[Attempt],
    now: datetime,
    rows: LoadedRows,
    given: Resources,
) -> None:
    """Run the set-based body over all commands. Raises `CannotUndo` when it fails."""
    works = [UnitOfWork(session, attempt.job_id, now, rows, attempt.effects, given) for attempt in attempts]
    asked = [(attempt.command, work) for attempt, work in zip(attempts, works, strict=True)]
    try:
        answers = job.set_body(asked) if job.set_body and asked else ()
        endings = [_answered(job, *each) for each in zip(attempts, answers, strict=True)]
    except Exception as error:
        if isinstance(error, Unavailable) or classify(error) is not Trouble.OTHER:
            raise
        raise CannotUndo(job.name) from error
    for attempt, ending in zip(attempts, endings, strict=True):
        attempt.ending = ending
    session.expunge_all()  # what it changed in memory, it has written


def together(
    job: Job[Any, Any],
    session: Session,
    attempts: Sequence[Attempt],
    now: datetime,
    rows: LoadedRows,
    given: Resources,
) -> None:
    """Run all bodies in order, then write all that they changed.

    Raises `CannotUndo` when a body failed in a way that cannot be undone in memory.
    """
    heard = time.monotonic()
    for attempt in attempts:
        if time.monotonic() - heard > SILENCE_S:
            # PostgreSQL ends a session that is silent inside a transaction: it takes it for a frozen one.
            session.connection().exec_driver_sql("SELECT 1")
            heard = time.monotonic()
        work = UnitOfWork(session, attempt.job_id, now, rows, attempt.effects, given)
        before = _Snapshot(attempt, rows)
        try:
            _run(job, attempt, work)
        except Exception as error:
            if work.touched_session or not before.restore():
                raise CannotUndo(job.name) from error
            attempt.effects, attempt.ending = Effects(), judge(error, job, attempt)
    session.flush()


def one_by_one(
    job: Job[Any, Any],
    session: Session,
    attempts: Sequence[Attempt],
    now: datetime,
    rows: LoadedRows,
    given: Resources,
) -> None:
    """Run each body within a savepoint of its own.

    Raises an error of PostgreSQL that tells of the whole transaction: lost connection, deadlock, timeout.
    """
    for attempt in attempts:
        try:
            with session.begin_nested():
                _run(job, attempt, UnitOfWork(session, attempt.job_id, now, rows, attempt.effects, given))
        except Exception as error:
            if classify(error) is not Trouble.OTHER:
                raise
            attempt.effects, attempt.ending = Effects(), judge(error, job, attempt)


def _run(job: Job[Any, Any], attempt: Attempt, work: UnitOfWork) -> None:
    assert attempt.command is not None  # noqa: S101 - only runnable attempts come here
    attempt.ending = _succeeded(job, job(attempt.command, work))


def _answered(job: Job[Any, Any], attempt: Attempt, answer: Result | Rejected) -> Ending:
    if not isinstance(answer, Rejected):
        return _succeeded(job, answer)
    attempt.effects = Effects()
    return judge(answer, job, attempt)


def _succeeded(job: Job[Any, Any], result: Result) -> Ending:
    data = result.model_dump(mode="json")
    size = len(orjson.dumps(data))
    if size > RESULT_MAX:
        raise ValueError(f"the result of {job.name} has {size} bytes of JSON; it may have {RESULT_MAX}")
    return Ending(Outcome.SUCCEEDED, data)


class _Snapshot:
    """The values of the rows that a job declared, as they were before its body ran."""

    def __init__(self, attempt: Attempt, rows: LoadedRows) -> None:
        declared = {id(row): row for lock in attempt.locks if (row := rows.get(lock)) is not None}
        self._rows = [(row, _columns(row)) for row in declared.values()]

    def restore(self) -> bool:
        """Put the values back; says whether that undoes all that the body can have done."""
        for row, values in self._rows:
            for name, value in values.items():
                if row.__dict__.get(name) != value:
                    setattr(row, name, value)
        return not any(_reaches_further(row, values) for row, values in self._rows)


def _columns(row: Any) -> Mapping[str, Any]:
    """The values that are loaded: what is not must not be taken for NULL."""
    names = inspect(type(row)).column_attrs.keys()
    return {name: row.__dict__[name] for name in names if name in row.__dict__}


def _reaches_further(row: Any, values: Mapping[str, Any]) -> bool:
    """Whether a body that has this row could have changed something else through it.

    A related row, what is in a container, a column that was not loaded.
    """
    contains = any(isinstance(value, dict | list | set) for value in values.values())
    return contains or any(name in row.__dict__ for name in inspect(type(row)).attrs.keys() - values.keys())
