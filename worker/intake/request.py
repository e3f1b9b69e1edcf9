"""Celery's request of a special message, which never drops a job and tells the node what becomes of it."""

from collections.abc import Callable
from typing import Any
from weakref import ReferenceType

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Ignore, TimeLimitExceeded, WorkerLostError
from celery.worker import request, state

from worker.execution.job import JOBS
from worker.intake.specials import Specials
from worker.intake.task_events import HIDDEN
from worker.intake.unsuccessful import JobParked, JobRejected

MESSAGE = "trivet_message"
"""The header under which a job's task finds its message as it came, undecoded."""

REVOKED = "trivet_revoked"
"""The name under which it finds in its request that an operator has taken the job back."""


class Request(request.Request):  # type: ignore[misc]  # Celery has no types
    """`Task.Request` of every task of the app; its message's delivery tag is that of its lease.

    Expired and revoked jobs run as far as the ledger, which rejects them, so that their callbacks hear of it.
    A job whose process died or took too long goes back into its queue, and so does one that was cancelled.
    """

    _cancelled = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Celery derives a class for each task, with an `on_success` that calls no other."""
        super().__init_subclass__(**options)
        cls.on_success = _telling(cls.on_success)

    @property
    def _apply_result(self) -> "ReferenceType[Any] | None":
        """What the pool knows of it; Celery sets it when the message went to the pool."""
        return self.__dict__.get("job")

    @_apply_result.setter
    def _apply_result(self, job: "ReferenceType[Any]") -> None:
        self.__dict__["job"] = job
        self._specials.submitted(self._tag, job)

    def revoked(self) -> bool:
        """Whether Celery is to leave it alone; asked when it arrives, and again before it goes to the pool."""
        if not self._specials.may_start(self._tag):
            return True
        if self.type not in JOBS:
            return bool(super().revoked())
        if self.id in state.revoked:
            self.request_dict[REVOKED] = True
        return False

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Tell whoever watches, as of a job in a batch: that there is a result, and not a letter of it."""
        super().send_event(type, **fields | ({"result": HIDDEN} if "result" in fields else {}))

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A pool process has begun."""
        self._specials.accepted(self._tag)
        super().on_accepted(pid, time_accepted)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """Its time limit has passed; the hard one has killed its process, and `on_failure` has heard of it."""
        if soft:
            super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's signature
        """Celery's word on it; before that, a death of its process is counted."""
        if isinstance(_cause(exc_info), WorkerLostError | TimeLimitExceeded | SystemExit) and self._counts:
            self._specials.died(self._tag)
        if isinstance(_cause(exc_info), JobRejected | JobParked | Ignore):
            self._specials.ended(self._tag)
        super().on_failure(exc_info, send_failed_event, return_ok)
        if self._cancelled:
            self.reject(requeue=True)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Kill its process. It comes again, and is rejected then as the revoked job that it is."""
        self.cancel(pool, signal)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - Celery's signature
        """Kill its process, if it has one: the operator's doing, so no death."""
        if self.time_start:
            self._cancelled = True
            super().cancel(pool, signal, emit_retry=False)

    @property
    def _counts(self) -> bool:
        return not (self._cancelled or state.should_terminate)

    @property
    def _tag(self) -> int:
        tag: int = self.message.delivery_tag
        return tag

    @property
    def _specials(self) -> Specials:
        specials: Specials = self.app.intake.specials
        return specials


def _cause(exc_info: Any) -> BaseException:
    error: BaseException = exc_info.exception
    if isinstance(error, ExceptionWithTraceback):
        error = error.exc
    return error


def _telling(on_success: Callable[..., None]) -> Callable[..., None]:
    """Let the node know first that the pool process has answered: the acknowledgement follows."""

    def on_answer(self: Request, failed__retval__runtime: tuple[Any, Any, Any], **options: Any) -> None:
        failed, shown, _ = failed__retval__runtime
        if not failed and shown is not None:  # None: Celery never came as far as our run
            self._specials.ended(self._tag)
        on_success(self, failed__retval__runtime, **options)

    return on_answer
