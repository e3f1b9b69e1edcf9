"""Live messages that jobs declare to publish beside their events, each on its channel."""

from string import Formatter
from typing import Any

from docs.asyncapi.parts import Parts, tags
from docs.asyncapi.samples import sample
from docs.pages.markdown import first
from worker.envelopes import queue_of
from worker.execution.job import Job


def add_live(parts: Parts, job: Job[Any, Any]) -> None:
    """Add the channels that a task publishes to."""
    for address, model in job.publishes.items():
        key = f"live.{address.partition(':')[0]}"
        names = [name for _, name, _, _ in Formatter().parse(address) if name]
        payload = parts.schemas.told(model)
        parts.channels[key] = {
            "address": address,
            "title": first(model),
            "description": "Redis pub/sub, at most once: to whoever listens then.",
            "parameters": {name: {"description": f"The field `{name}` of {job.name}."} for name in names},
            "messages": {},
            "tags": tags(queue_of(job.name)),
        }
        message = {
            "name": model.__name__,
            "title": model.__name__,
            "summary": first(model),
            "contentType": "application/json",
            "payload": payload,
            "examples": [{"name": "example", "payload": sample(payload, parts.schemas)}],
            "tags": tags(queue_of(job.name)),
        }
        parts.message(key, key, message)
        parts.operation(key, "send", key, key, summary=f"Published by {job.name}.", tags=tags(queue_of(job.name)))
