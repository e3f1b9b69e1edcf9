"""Celery's task events of gathered jobs, in bulk, and the totals that heartbeats and `inspect stats` show.

Nothing is made while nobody asked for task events (`-E`, or `celery control enable_events`). No event holds a value
of a payload or a result: those may be personal, and whoever reads the broker reads the events.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from celery.app.events import Events as CelerysEvents
from celery.events.dispatcher import EventDispatcher
from celery.signals import task_received

from worker.errors import Outcome
from worker.intake.arrivals import Arrival
from worker.intake.pool_process import Report
from worker.intake.task_signals import REVOKED, ReceivedRequest
from worker.messages import Message, printable

MULTI_MAX: Final = 1_000
"""Events of one `task-multi` message: some hundred kilobytes."""

NO_ARGS: Final = "()"
HIDDEN: Final = "{...}"
"""What stands in the place of a payload or a result."""

TEXT_MAX: Final = 255
"""Characters of a producer's header that an event keeps."""


class Dispatcher(EventDispatcher):  # type: ignore[misc]  # Celery has no types
    """Celery's dispatcher, with room for a batch in its buffer; its heartbeats count gathered jobs as active."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, buffer_limit=MULTI_MAX, **kwargs)

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send or buffer an event."""
        intake = getattr(self.app, "intake", None)
        if "active" in fields and intake is not None:
            if intake.away:
                return  # a heartbeat that nobody can hear would hold up the loop for a timeout
            if intake.gathering is not None:
                fields["active"] += len(intake.gathering.active())
        # Tried once: kombu would try again until the broker is back, and the whole node would stand still.
        super().send(type, **fields | {"retry": False})


class Events(CelerysEvents):  # type: ignore[misc]  # Celery has no types
    """`app.events`, with our dispatcher."""

    dispatcher_cls = "worker.intake.task_events:Dispatcher"


class TaskEvents:
    """What those who watch this consumer's worker hear of gathered jobs."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def received(self, message: Message, headers: Mapping[str, Any]) -> None:
        """A message has been taken in; `headers` are all that its producer gave it."""
        if task_received.receivers:
            request = ReceivedRequest(message.task_id, message.task)
            task_received.send(sender=self._consumer, request=request)
        if (dispatcher := self._wanted()) is not None:
            dispatcher.send("task-received", **_about(message, headers))

    def started(self, batch: Sequence[Arrival]) -> None:
        """A batch has been handed to a pool process."""
        if (dispatcher := self._wanted()) is not None:
            for arrival in batch:
                dispatcher.send("task-started", uuid=_uuid(arrival.message))

    def ended(self, batch: Sequence[Arrival], report: Report) -> None:
        """A pool process has reported what became of a batch."""
        state = self._consumer.controller.state
        state.total_count[batch[0].message.task] += len(batch)
        state.all_total_count[0] += len(batch)
        if (dispatcher := self._wanted()) is not None:
            for arrival, (kind, fields) in zip(batch, _endings(report), strict=True):
                dispatcher.send(kind, uuid=_uuid(arrival.message), **fields)

    def _wanted(self) -> Any:
        """The dispatcher, if anybody asked for task events; it is another one after the connection was lost."""
        dispatcher = self._consumer.event_dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return None
        return dispatcher if not dispatcher.groups or "task" in dispatcher.groups else None


def _uuid(message: Message) -> str:
    return printable(message.task_id)


def _about(message: Message, given: Mapping[str, Any]) -> dict[str, Any]:
    retries = given.get("retries")
    return {
        "uuid": _uuid(message),
        "name": message.task,
        "args": NO_ARGS,
        "kwargs": HIDDEN,
        "root_id": _text(given.get("root_id")),
        "parent_id": _text(given.get("parent_id")),
        "retries": retries if isinstance(retries, int) else 0,
        "eta": _text(given.get("eta")),
        "expires": _text(given.get("expires")),
    }


def _text(given: object) -> str | None:
    return printable(given[:TEXT_MAX]) if isinstance(given, str) else None


def _endings(report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The type of each job's last event, and what it tells."""
    # Whoever watches keeps what an earlier try has told, unless it is told anew.
    succeeded = {"result": HIDDEN, "runtime": report.runtime_s, "exception": None}
    unsuccessful = {"traceback": None, "runtime": report.runtime_s}
    for outcome, code in zip(report.outcomes or (), report.codes, strict=True):
        if outcome is Outcome.SUCCEEDED:
            yield "task-succeeded", succeeded
        elif code in REVOKED and outcome is Outcome.REJECTED:
            yield "task-revoked", {"terminated": False, "signum": None, "expired": code == "expired"}
        else:
            kind = "task-retried" if outcome is Outcome.RETRYING else "task-failed"
            yield kind, unsuccessful | {"exception": f"Job{outcome.capitalize()}({code!r})"}
