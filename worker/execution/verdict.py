"""What an error in a body comes to: the one place that turns exceptions into endings."""

import traceback
from typing import Any, Final

import psycopg
from sqlalchemy.exc import IntegrityError

from worker.backoff import backoff_s
from worker.errors import Outcome, Rejected, Unavailable
from worker.execution.attempt import Attempt, Ending
from worker.execution.job import Job
from worker.messages import printable
from worker.stores.postgres_errors import Trouble, classify

ERROR_MAX: Final = 4_000
"""Characters of an error that the ledger keeps: the end, where the cause stands."""


def judge(error: Exception, job: Job[Any, Any], attempt: Attempt) -> Ending:
    """Decide: a rejection ends the job; what is away is tried again; code that failed, up to its limit.

    Code that PostgreSQL has not heard of for too long has failed. A slow statement may be PostgreSQL's own trouble.
    """
    match error:
        case Rejected():
            return Ending.rejected(error)
        case IntegrityError() | psycopg.IntegrityError() if (refused := _refused(error, job)) is not None:
            return Ending.rejected(refused)
        case _ if isinstance(error, Unavailable) or classify(error) in {Trouble.BUSY, Trouble.SLOW}:
            return _try_again(error, attempt, cap_s=60, failed=False)
        case _:
            return _failed(error, job, attempt)


def _refused(error: IntegrityError | psycopg.IntegrityError, job: Job[Any, Any]) -> Rejected | None:
    # What went out together, or only the commit refuses, is told in psycopg's own words.
    cause = error.orig if isinstance(error, IntegrityError) else error
    constraint = getattr(getattr(cause, "diag", None), "constraint_name", None)
    rejection = job.refuses.get(constraint or "")
    return rejection() if rejection else None


def _failed(error: Exception, job: Job[Any, Any], attempt: Attempt) -> Ending:
    failures = (attempt.known.failures if attempt.known else 0) + 1
    if failures < job.failures_max:
        return _try_again(error, attempt, cap_s=3600, failed=True)
    return Ending.parked("failed", f"{type(error).__name__}, {failures} times", _text(error), failed=True)


def _try_again(error: Exception, attempt: Attempt, *, cap_s: float, failed: bool) -> Ending:
    tries = (attempt.known.attempts if attempt.known else 0) + 1
    data = {"code": "retrying", "message": type(error).__name__}
    due_in_s = backoff_s(tries, first_s=2, cap_s=cap_s)
    return Ending(Outcome.RETRYING, data, _text(error), due_in_s=due_in_s, failed=failed)


def _text(error: Exception) -> str:
    return printable("".join(traceback.format_exception(error)))[-ERROR_MAX:]
