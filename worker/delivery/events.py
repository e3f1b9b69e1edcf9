"""Completion events: CloudEvents 1.0, live on a channel and durable in a stream."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
from redis import Redis
from redis.exceptions import RedisError

from worker.errors import StoreUnavailable
from worker.messages import derive_id

SOURCE: Final = "trivet"
STREAM: Final = "events"
CHANNEL: Final = "events:"


def event_id(job_id: UUID, kind: str, distinction: str = "") -> UUID:
    """The id of a job's event of this type: the same each time it is published."""
    return derive_id(f"event {kind}", f"{job_id} {distinction}")


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


def publish(redis: Redis, events: Iterable[tuple[int, str]], maxlen: int) -> None:
    """Append each event to the stream and announce it on its channel, in order, all or none.

    `events` are pairs of sequence and event; the stream keeps about `maxlen` entries. Raises
    `StoreUnavailable` when Redis is away or refuses writes.
    """
    try:
        with redis.pipeline(transaction=True) as pipe:
            for sequence, event in events:
                text = with_sequence(event, sequence)
                pipe.xadd(STREAM, {"event": text}, maxlen=maxlen, approximate=True)
                pipe.publish(CHANNEL + orjson.loads(event)["type"], text)
            pipe.execute()
    except RedisError as error:
        # Whatever it is, no event of ours caused it: a stream key of another type, a right that is missing.
        raise StoreUnavailable(f"Redis: {error}") from error
