"""Completion events: CloudEvents 1.0, live on a channel and durable in a stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from worker.errors import Outcome
from worker.messages import derive_id, text_of

SOURCE: Final = "trivet"
STREAM: Final = "events"
CHANNEL: Final = "events:"


def event_id(job_id: UUID, kind: str, distinction: str = "") -> UUID:
    """The id of a job's event of this type: the same each time it is published."""
    return derive_id(f"event {kind}", f"{text_of(job_id)} {distinction}")


def completion_channels(task: str) -> list[str]:
    """The channels on which the completion events of a task are published."""
    return [f"{CHANNEL}{task}.{outcome}" for outcome in Outcome if outcome.ended]


def completion_event(  # noqa: PLR0913 - the attributes of a CloudEvent
    *,
    kind: str,
    subject: str,
    time: datetime,
    data: Mapping[str, Any] | None,
    job_id: UUID,
    task_id: str,
    traceparent: str | None = None,
    distinction: str = "",
) -> str:
    """The CloudEvent as JSON, still without its `sequence`.

    `kind` is the CloudEvents type, `<task>.<outcome>`; `distinction` keeps apart several events of one type
    about one job.
    """
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id(job_id, kind, distinction),
        "source": SOURCE,
        "type": kind,
        "subject": subject,
        "time": time.astimezone(UTC),
        "datacontenttype": "application/json",
        "jobid": job_id,
        "taskid": task_id,
        "data": data,
    }
    if traceparent:
        event["traceparent"] = traceparent
    return orjson.dumps(event, option=orjson.OPT_UTC_Z).decode()


def with_sequence(event: str, sequence: int) -> str:
    """The event with its `sequence`, without reading the JSON again."""
    return f'{event[:-1]},"sequence":{sequence}}}'


@dataclass(frozen=True)
class Event:
    """A completion event as a subscriber gets it: the attributes of the CloudEvent, under their own names.

    `position` is where it stands in the stream; `text` is the CloudEvent as it was published, in JSON.
    """

    id: UUID
    type: str
    subject: str
    time: datetime
    data: Mapping[str, Any] | None
    jobid: UUID
    taskid: str
    sequence: int
    traceparent: str | None
    position: str
    text: str

    @classmethod
    def read(cls, text: str, position: str) -> "Event":
        """Read the JSON. Raises `ValueError`, `KeyError` or `TypeError` when it is no completion event."""
        told = orjson.loads(text)
        return cls(
            id=UUID(told["id"]),
            type=told["type"],
            subject=told["subject"],
            time=datetime.fromisoformat(told["time"]),
            data=told["data"],
            jobid=UUID(told["jobid"]),
            taskid=told["taskid"],
            sequence=told["sequence"],
            traceparent=told.get("traceparent"),
            position=position,
            text=text,
        )

    @property
    def task(self) -> str:
        """The task's name."""
        return self.type.rpartition(".")[0]

    @property
    def outcome(self) -> Outcome:
        """What became of the job."""
        return Outcome(self.type.rpartition(".")[2])
