"""A job as a Celery task: what Celery sees of it."""

import json
from typing import Any

from celery import Celery, Task

from worker.envelopes import body_of
from worker.errors import Outcome, Rejected
from worker.execution.attempt import Ending
from worker.execution.job import JOBS
from worker.intake.pool_process import run_alone
from worker.messages import HEADERS, Message


class JobRejected(Rejected):
    """A job was rejected; Celery shows its task as failed, with this as the reason."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)
        self.args = (code, message)


class JobTask(Task):  # type: ignore[misc]  # Celery has no types
    """Runs one job as a batch of one: the way of messages that ask for something special."""

    Strategy = "worker.intake.strategy:gather"
    abstract = True
    typing = False  # payloads are validated by the worker, with better words
    ignore_result = True
    acks_late = True
    reject_on_worker_lost = True
    throws = (Rejected,)

    def run(self, /, *args: Any, **payload: Any) -> Any:
        """Run this message's job; returns its result, raises `JobRejected` for a rejection."""
        return _answer(run_alone(self.name, _message(self.name, self.request, args, payload)))


def register_jobs(app: Celery) -> None:
    """Make each declared job a task of the app."""
    for name in JOBS:
        app.register_task(type(name, (JobTask,), {"name": name, "__module__": __name__})())


def _message(task: str, request: Any, args: tuple[Any, ...], payload: dict[str, Any]) -> Message:
    given = request.headers or {}
    headers = {name: given[name] for name in HEADERS if name in given}
    body = json.dumps([args, payload, {}]).encode() if args else body_of(json.dumps(payload).encode())
    return Message(task, request.id, body, headers=headers)


def _answer(ending: Ending) -> Any:
    if ending.outcome is Outcome.REJECTED:
        raise JobRejected(str(ending.data["code"]), str(ending.data["message"]))
    return ending.data
