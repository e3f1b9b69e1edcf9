"""A batch of jobs of one task: the steps, in order, and what happens when others are in the way."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from worker.backoff import backoff_s
from worker.crash_points import crash_point
from worker.errors import StoreUnavailable, Unavailable
from worker.execution.attempt import Attempt, Ending
from worker.execution.claiming import claim
from worker.execution.command import Command, Result
from worker.execution.isolation import CannotUndo, Perform, ways
from worker.execution.job import JOBS, Job, no_locks
from worker.execution.limiting import give_back, limit
from worker.execution.locking import lock
from worker.execution.owing import owed_by, subject_of
from worker.execution.reading import read
from worker.execution.recording import record, record_conflicts
from worker.execution.unit_of_work import UnitOfWork
from worker.execution.verdict import judge
from worker.messages import Message
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.resources import Resources
from worker.stores.round_trips import committing

TRIES: Final = 3
"""How often a batch that others were in the way of starts again as a whole before it is halved."""

SLOW_PARTS: Final = 8
"""Into how many parts a batch is cut that took too long: each part may take as long again."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """A batch that has committed: what became of each message, in order, and the shards that now owe something."""

    attempts: list[Attempt]
    shards: set[int]


def run(task: str, messages: Sequence[Message], given: Resources) -> Done:
    """Run the messages of one task, so that each job takes effect once and none harms another.

    Every message gets an ending. Raises `StoreUnavailable` while PostgreSQL is away: then nothing has been
    counted, and the same messages are to be run again later.
    """
    job = JOBS[task]
    attempts = read(job, messages)
    crash_point("after_read")
    done = Done([], set())
    for part in _persist(job, attempts, given, time.monotonic() + given.settings.batch_limit_s / 2):
        give_back(job, part.attempts, given.hasty)
        done = Done(done.attempts + part.attempts, done.shards | part.shards)
    return done


def park(message: Message, code: str, why: str, given: Resources) -> Done:
    """Give up a job whose process died each time it ran alone, or a message that is none of ours.

    Its task need not be known. Raises `StoreUnavailable` while PostgreSQL is away.
    """
    job = JOBS.get(message.task) or Job(message.task, _nobody_knows_how, Command)
    (attempt,) = read(job, [message])
    attempt.ending, attempt.unsound = Ending.parked(code, why), False
    return _end_unrun(job, [attempt], lambda _: Ending.parked(code, why), given)


def _nobody_knows_how(_command: Command, _work: UnitOfWork) -> Result:
    raise AssertionError("a job without a body is parked, never run")


def _persist(job: Job[Any, Any], attempts: Sequence[Attempt], given: Resources, until: float) -> Iterator[Done]:
    """Yield the parts of a batch as they commit: all in one, or in ever smaller ones until it is known what fails.

    What has not been tried by `until` (monotonic) is tried again later.
    """
    if time.monotonic() > until:
        late = Unavailable("other jobs of its batch took too long")
        yield _end_unrun(job, attempts, lambda attempt: judge(late, job, attempt), given)
        return
    tried = _try(job, attempts, lambda: _isolate(job, attempts, given))
    if isinstance(tried, Done):
        yield tried
    elif len(attempts) == 1 or isinstance(tried, Unavailable):
        yield _end_unrun(job, attempts, lambda attempt: judge(tried, job, attempt), given)
    else:
        slow = classify(tried) in {Trouble.SLOW, Trouble.SILENT}
        for part in _cut(attempts, SLOW_PARTS if slow else 2):
            yield from _persist(job, part, given, until)


def _try(job: Job[Any, Any], attempts: Sequence[Attempt], way: Callable[[], Done]) -> Done | Exception:
    """Run a batch as a whole, again while others are in its way. Returns what it came to, or what stopped it."""
    problem: Exception = Unavailable()
    for attempt_number in range(1, TRIES + 1):
        try:
            return way()
        except Exception as error:  # noqa: BLE001 - judged when it stands alone
            problem = _unless_away(error)
            _log.info("batch.again", task=job.name, jobs=len(attempts), error=type(error).__name__)
        if classify(problem) is not Trouble.BUSY:
            break  # it would fail the same way: find out which job it is
        time.sleep(backoff_s(attempt_number, first_s=0.05, cap_s=1))
    return problem


def _cut(attempts: Sequence[Attempt], parts: int) -> Iterator[Sequence[Attempt]]:
    size = -(-len(attempts) // parts)
    return (attempts[start : start + size] for start in range(0, len(attempts), size))


def _unless_away(error: Exception) -> Exception:
    if isinstance(error, StoreUnavailable) or classify(error) is Trouble.AWAY:
        raise StoreUnavailable(f"PostgreSQL: {error.__cause__ or error}") from error
    return error


def _end_unrun(
    job: Job[Any, Any], attempts: Sequence[Attempt], verdict: Callable[[Attempt], Ending], given: Resources
) -> Done:
    """Record endings for jobs without running them, once the ledger has told what is known of each."""

    def perform(_job: object, _session: object, attempts: Sequence[Attempt], *_: object) -> None:
        for unrun in attempts:
            unrun.ending = verdict(unrun)

    # They name no rows: what they would lock is of no use now, and naming them may be what fails.
    bare = replace(job, locks=no_locks, limit=None)
    tried = _try(job, attempts, lambda: _run_once(bare, [each.again() for each in attempts], given, perform))
    if isinstance(tried, Done):
        return tried
    raise tried


def _isolate(job: Job[Any, Any], attempts: Sequence[Attempt], given: Resources) -> Done:
    *hasty, careful = ways(job)
    for perform in hasty:
        try:
            return _run_once(job, [attempt.again() for attempt in attempts], given, perform)
        except (CannotUndo, DBAPIError, psycopg.Error) as error:  # psycopg's own: of what went out together
            if classify(error) is not Trouble.OTHER:
                raise
    return _run_once(job, [attempt.again() for attempt in attempts], given, careful)


def _run_once(job: Job[Any, Any], attempts: list[Attempt], given: Resources, perform: Perform) -> Done:
    """The steps of one transaction. Raises what stopped it."""
    with (
        claim(given.engine, job.name, attempts) as (connection, now),
        Session(connection, join_transaction_mode="rollback_only") as session,
    ):
        crash_point("after_claim")
        # Here: nothing may be asked behind a `last_round_trip` of the body.
        record_conflicts(connection, [attempt for attempt in attempts if attempt.conflicts])
        _judge_failures(job, attempts)
        runnable = [attempt for attempt in attempts if attempt.runnable and not attempt.repeats]
        runnable = limit(job, runnable, given.hasty)
        rows = lock(session, job, runnable)
        crash_point("after_lock")
        perform(job, session, runnable, now, rows, given)
        crash_point("after_perform")
        _follow_earlier(attempts)
        standing = [attempt for attempt in attempts if not (attempt.repeats or attempt.apart)]
        owed = [(attempt, row) for attempt in attempts for row in owed_by(job, attempt, now)]
        with committing(connection) as driver:
            driver.execute(*record(job.name, standing, [subject_of(job, attempt) for attempt in standing], owed))
            crash_point("after_record")
    crash_point("after_commit")
    outcomes = Counter(attempt.ended.outcome.value for attempt in attempts)
    _log.debug("batch.committed", task=job.name, jobs=len(attempts), **outcomes)
    return Done(attempts, {row.shard for _, row in owed})


def _judge_failures(job: Job[Any, Any], attempts: Sequence[Attempt]) -> None:
    """What failed while it was read is tried again, as a body that fails."""
    for attempt in attempts:
        if attempt.failure is not None and attempt.ending is None and not attempt.repeats:
            attempt.ending = judge(attempt.failure, job, attempt)


def _follow_earlier(attempts: Sequence[Attempt]) -> None:
    """Give repeats within the batch the ending of the job that they repeat."""
    endings = {attempt.job_id: attempt.ending for attempt in attempts if not (attempt.repeats or attempt.apart)}
    for attempt in attempts:
        if attempt.repeats and attempt.ending is None:
            attempt.ending = endings[attempt.job_id]
