"""What a producer has in hand of a job that it sent: its ids, and the way to what becomes of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson

from worker.errors import Outcome, Rejected, TrivetError
from worker.execution.awaiting import Ended, await_event, await_result
from worker.execution.command import Result
from worker.messages import job_id
from worker.producer import Outgoing, current

R = TypeVar("R", bound=Result)


class Parked(TrivetError):
    """The job was given up, until an operator replays or drops it; `code` and `data` say why."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data.get("message", ""))
        self.code = data.get("code", "")
        self.data = data


class ResultNotWanted(TrivetError):
    """A result was not asked for when the job was sent, so none will be stored."""


@dataclass(frozen=True, kw_only=True)
class Enqueued(Outgoing, Generic[R]):
    """A job on its way; it keeps its message, so that the same can be sent again: `enqueue_many([enqueued])`.

    `answer` is the class of its result. `since_ms` is the moment when it was sent, on Redis' clock; 0 is unknown.
    """

    answer: type[R]
    since_ms: int = 0

    def sent_at(self, since_ms: int) -> "Enqueued[R]":
        """The same, sent at this moment."""
        return Enqueued(self.message, self.eta, answer=self.answer, since_ms=since_ms)

    @property
    def job_id(self) -> UUID:
        """Its id in the ledger and in events: the same for the same idempotency key."""
        return job_id(self.message)

    @property
    def task_id(self) -> str:
        """The id of this message, for Celery's results, Flower and revoke."""
        return self.message.task_id

    def wait(self, timeout_s: float) -> Ended:
        """Wait for the job's end, by its result if that was asked for, and else by its completion event.

        A result may be there before the documents are; an event comes after them. A message that repeats an ended
        job stores its result, but causes no event.
        Raises `TimeoutError` after `timeout_s` seconds, `StoreUnavailable` when Redis is away.
        """
        redis, until = current().redis, time.monotonic() + timeout_s
        if self.message.wants_result:
            ended = await_result(redis, self.task_id, until)
        else:
            ended = await_event(redis, self.message.task, self.task_id, self.since_ms, until)
        if ended is None:
            raise TimeoutError(
                f"{self.message.task}: job {self.job_id} is not known to have ended in {timeout_s} s"
            )
        return ended

    def result(self, timeout_s: float) -> R:
        """Wait for the job's answer.

        Raises the rejection, `Parked`, `TimeoutError` after `timeout_s` seconds, `StoreUnavailable` when Redis is
        away, and at once `ResultNotWanted` when the job was sent without `want_result=True`.
        """
        if not self.message.wants_result:
            raise ResultNotWanted(f"{self.message.task}: enqueue it with want_result=True, or wait() for its end")
        ended = self.wait(timeout_s)
        data = ended.data or {}
        match ended.outcome:
            case Outcome.REJECTED:
                raise Rejected.told(data)
            case Outcome.PARKED:
                raise Parked(data)
        # A newer worker may say more than is known here.
        return self.answer.model_validate_json(orjson.dumps(data), extra="ignore")
