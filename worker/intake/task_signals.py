"""Celery's task signals for gathered jobs; a signal without receivers costs nothing.

In the main process `task_received`. In the pool process, around each try of a batch: `task_prerun` for each of its
jobs before it starts; when it has committed, for each job `task_success`, `task_failure`, `task_retry` or
`task_revoked`, and then `task_postrun`. What a receiver raises is logged by Celery, and harms nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from billiard.einfo import ExceptionInfo
from celery import states
from celery.signals import task_failure, task_postrun, task_prerun, task_retry, task_revoked, task_success

from worker.errors import Outcome
from worker.execution.attempt import Attempt, Ending
from worker.intake.unsuccessful import JobParked, JobRejected
from worker.messages import Message

REVOKED: Final = frozenset({"revoked", "expired"})
"""Codes of rejections that are revocations in Celery's words."""

_AFTERWARDS: Final = (task_success, task_failure, task_retry, task_revoked, task_postrun)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """What receivers of `task_received` are given as `request`: nothing is decoded in the main process."""

    id: str
    name: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class TaskSignals:
    """Sends the signals of one pool process; `tasks` are the app's, by name."""

    def __init__(self, tasks: Mapping[str, Any]) -> None:
        self._tasks = tasks

    def starting(self, messages: Sequence[Message]) -> None:
        """A batch is about to run."""
        if task_prerun.receivers:
            for message in messages:
                with self._requested(message) as task:
                    task_prerun.send(**_about(task))

    def put_off(self, messages: Sequence[Message]) -> None:
        """PostgreSQL is away: nothing was counted, and the batch runs again."""
        if task_postrun.receivers:
            for message in messages:
                with self._requested(message) as task:
                    task_postrun.send(**_about(task), retval=None, state=states.RETRY)

    def ended(self, attempts: Iterable[Attempt]) -> None:
        """A batch has committed."""
        if any(signal.receivers for signal in _AFTERWARDS):
            for attempt in attempts:
                with self._requested(attempt.message) as task:
                    state = _tell(task, attempt.ended)
                    task_postrun.send(**_about(task), retval=attempt.ended.data, state=state)

    def given_up(self, attempts: Iterable[Attempt]) -> None:
        """A job has been parked without having been run; nobody hears of a task that nobody knows."""
        if task_failure.receivers:
            for attempt in attempts:
                if attempt.message.task in self._tasks:
                    with self._requested(attempt.message) as task:
                        _tell(task, attempt.ended)

    @contextmanager
    def _requested(self, message: Message) -> Iterator[Any]:
        """The task, with its request, as receivers know it: `sender.request.id`."""
        task = self._tasks[message.task]
        args, kwargs = _arguments(message)
        task.push_request(id=message.task_id, task=message.task, args=args, kwargs=kwargs)
        try:
            yield task
        finally:
            task.pop_request()


def _tell(task: Any, ending: Ending) -> Any:
    """Send the one signal that fits; returns Celery's word for the state."""
    code, message = (str(ending.data.get(name)) for name in ("code", "message"))
    match ending.outcome:
        case Outcome.SUCCEEDED:
            task_success.send(sender=task, result=ending.data)
            return states.SUCCESS
        case Outcome.RETRYING:
            task_retry.send(sender=task, request=task.request, reason=ending.error, einfo=None)
            return states.RETRY
        case Outcome.REJECTED if code in REVOKED:
            gone = {"terminated": False, "signum": None, "expired": code == "expired"}
            task_revoked.send(sender=task, request=task.request, **gone)
            return states.REVOKED
        case Outcome.REJECTED:
            _fail(task, JobRejected(code, message))
        case _:
            _fail(task, JobParked(code, message))
    return states.FAILURE


def _fail(task: Any, error: Exception) -> None:
    try:
        raise error  # receivers read the traceback, so there must be one
    except (JobRejected, JobParked):
        about = {name: value for name, value in _about(task).items() if name != "task"}
        task_failure.send(**about, exception=error, traceback=error.__traceback__, einfo=ExceptionInfo())


def _about(task: Any) -> dict[str, Any]:
    request = task.request
    return {"sender": task, "task_id": request.id, "task": task, "args": request.args, "kwargs": request.kwargs}


def _arguments(message: Message) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Of its body; none when that cannot be read, as the batch will find too."""
    try:
        args, kwargs, *_ = json.loads(message.body)
    except (TypeError, ValueError, RecursionError):
        return (), {}
    return (args, kwargs) if isinstance(args, list) and isinstance(kwargs, dict) else ((), {})
