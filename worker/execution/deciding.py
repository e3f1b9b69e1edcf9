"""What a message is to its job: it stands for it, repeats it, conflicts with it, or is refused beside it."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from worker.errors import Expired, IdempotencyConflict, InvalidPayload, Outcome
from worker.execution.attempt import Attempt, Ending, Known
from worker.messages import deadline, exact_task_id, printable


def decide(attempt: Attempt, task: str, known: Known | None, standing: dict[UUID, Attempt], now: datetime) -> None:
    """Say what this attempt is, by what the ledger knew of its job and what came earlier in the batch.

    `standing` are those that stand for their jobs; it learns of this one, if it does so too.
    """
    earlier = standing.get(attempt.job_id)
    attempt.known = known
    own = {attempt.message.task_id} if attempt.message.wants_result else set[str]()
    if not _same(attempt, task, known, earlier):
        attempt.conflicts = True
        attempt.waiting = own - {_holder(known, earlier)}  # a refused message must not hide the job's own result
        attempt.ending = Ending.rejected(IdempotencyConflict(f"job {attempt.job_id} has another payload or task"))
    elif known is not None and known.state.ended:
        attempt.repeats, attempt.waiting = True, own
        attempt.ending = Ending(known.state, known.data)
    elif earlier is not None:
        attempt.repeats, attempt.ending = True, None
        earlier.waiting |= own
    elif known is not None and (refusal := _refusal(attempt, known, now)) is not None:
        attempt.refused, attempt.waiting = True, own
        attempt.ending = refusal
    else:
        standing[attempt.job_id] = attempt
        attempt.waiting = own.union(_waiting(known) if known is not None else ())
        _judge_time(attempt, now)


def limit_of(attempt: Attempt) -> datetime | None:
    """The moment after which its message is not worth starting.

    A deadline that cannot be read has been rejected when the message was read.
    """
    read = attempt.command is not None or attempt.failure is not None
    return deadline(attempt.message.headers) if read else None


def _holder(known: Known | None, earlier: Attempt | None) -> str | None:
    """The task id under which the job itself is known."""
    if known is not None:
        return known.task_id
    return earlier.message.task_id if earlier is not None else None


def _same(attempt: Attempt, task: str, known: Known | None, earlier: Attempt | None) -> bool:
    if known is not None:
        return (known.task, known.digest) == (task, attempt.digest)
    return earlier is None or earlier.digest == attempt.digest


def _refusal(attempt: Attempt, known: Known, now: datetime) -> Ending | None:
    """Why the message is refused for itself. The job waits, and stands, for another message brought it.

    The job's own message is none: what is wrong with that one is wrong with the job.
    """
    if printable(attempt.message.task_id) == known.task_id:
        return None
    if attempt.ending is not None:
        own = attempt.unsound or (
            attempt.ending.outcome is Outcome.REJECTED and _is_of_another_version(attempt, known)
        )
        return _beside_its_job(attempt.ending) if own else None
    if (limit := limit_of(attempt)) is not None and now > limit:
        return _beside_its_job(_expired(limit))
    return None


def _is_of_another_version(attempt: Attempt, known: Known) -> bool:
    ours, theirs = (str(headers.get("payload_version", 1)) for headers in (attempt.message.headers, known.headers))
    return ours != theirs


def _beside_its_job(ending: Ending) -> Ending:
    """As a rejection that says so: what is given up is kept for an operator, and here there is nothing to keep."""
    data = dict(ending.data)
    if ending.outcome is not Outcome.REJECTED:
        data = InvalidPayload(data["message"], field="payload_version").data
    return Ending(Outcome.REJECTED, data | {"job_stands": True})


def _waiting(known: Known) -> Iterator[str]:
    """The task ids under which somebody waits for the result since before this message came."""
    if isinstance(waiting := known.headers.get("waiting"), list):
        yield from (task_id for task_id in waiting if isinstance(task_id, str))
    if known.headers.get("want_result") is True:
        yield exact_task_id(known.headers, known.task_id)


def _judge_time(attempt: Attempt, now: datetime) -> None:
    if attempt.ending is not None:
        return
    if attempt.known is not None and (attempt.known.attempts or attempt.known.replays):
        if now > attempt.known.deadline:
            attempt.ending = Ending.parked("deadline", f"not done by its deadline, {attempt.known.deadline}")
    elif (limit := limit_of(attempt)) is not None and now > limit:
        attempt.ending = _expired(limit)


def _expired(limit: datetime) -> Ending:
    return Ending.rejected(Expired(f"arrived after its deadline, {limit}"))
