"""A job as a Celery task: what Celery sees of it."""

import json
from dataclasses import replace
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from worker.envelopes import body_of
from worker.errors import Outcome, Rejected
from worker.execution.attempt import Ending
from worker.execution.job import JOBS
from worker.intake.pool_process import run_alone
from worker.intake.request import MESSAGE, REVOKED
from worker.intake.unsuccessful import JobParked, JobRejected
from worker.messages import Message


class SpecialTask(Task):  # type: ignore[misc]  # Celery has no types
    """What every task of the app is made from, Celery's own too: their messages are safe as long as they run."""

    Strategy = "worker.intake.strategy:gather"
    Request = "worker.intake.request:Request"
    abstract = True
    acks_on_timeout = False


class JobTask(SpecialTask):
    """Runs one job as a batch of one: the way of messages that ask for something special."""

    abstract = True
    typing = False  # payloads are validated by the worker, with better words
    ignore_result = True
    resultrepr_maxsize = 0  # a result may be personal: nothing of it goes into Celery's logs and events
    acks_late = True
    reject_on_worker_lost = True
    throws = (Rejected, JobParked)

    def run(self, /, *args: Any, **payload: Any) -> Any:
        """Run this message's job; returns its result.

        Raises `JobRejected` or `JobParked` when it ends so. `Ignore`: it is tried again later, and its callbacks
        wait for that. `Reject`: PostgreSQL is away, and the message goes back into its queue.
        """
        return _answer(run_alone(self.name, _message(self.name, self.request, args, payload)))


def register_jobs(app: Celery) -> None:
    """Make each declared job a task of the app."""
    for name in JOBS:
        app.register_task(type(name, (JobTask,), {"name": name, "__module__": __name__})())


def _message(task: str, request: Any, args: tuple[Any, ...], payload: dict[str, Any]) -> Message:
    # Not by the request's methods and properties: a header of the producer's may stand in their place.
    given = vars(request)
    message: Message | None = given.get(MESSAGE)
    if message is not None:
        return replace(message, revoked=True) if given.get(REVOKED) else message
    body = json.dumps([args, payload, {}]).encode() if args else body_of(json.dumps(payload).encode())
    return Message(task, request.id, body)


def _answer(ending: Ending | None) -> Any:
    if ending is None:
        raise Reject("PostgreSQL is away", requeue=True)
    match ending.outcome:
        case Outcome.SUCCEEDED:
            return ending.data
        case Outcome.REJECTED:
            raise JobRejected(str(ending.data["code"]), str(ending.data["message"]))
        case Outcome.PARKED:
            raise JobParked(str(ending.data["code"]), str(ending.data["message"]))
    raise Ignore
