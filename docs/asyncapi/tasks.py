"""Tasks as messages: each on the channel of its queue, with the payload and the headers that it takes."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from docs.asyncapi.parts import Part, Parts, tags
from docs.asyncapi.samples import sample
from docs.asyncapi.schemas import HERE, Schema
from docs.pages.markdown import codes, first, said
from docs.pages.refusals import refusals
from docs.pages.tasks import limit
from worker.envelopes import queue_of
from worker.execution.job import Job
from worker.execution.upcasting import older_forms
from worker.messages import derive_id


def add_task(parts: Parts, job: Job[Any, Any]) -> None:
    """Add a task's channel if it is the first there, its message, one for each older version, and the operation."""
    queue = queue_of(job.name)
    parts.channels.setdefault(queue, _channel(queue))
    keys = []
    for key, version, form in _versions(job):
        keys.append(key)
        parts.message(key, queue, _message(parts, job, version, form))
    parts.operation(
        job.name,
        "receive",
        queue,
        *keys,
        title=job.name,
        summary=first(job.command),
        description=f"How: {said(job.body)}",
        tags=tags(queue),
    )


def _versions(job: Job[Any, Any]) -> Iterator[tuple[str, int, type[BaseModel]]]:
    yield job.name, job.version, job.command
    for version, form in older_forms(job):
        if form is not None:
            yield f"{job.name}.v{version}", version, form


def _channel(queue: str) -> Part:
    return {
        "address": queue,
        "title": f"The queue {queue}",
        "description": (
            "A Redis list. Any Celery client sends to it: `app.send_task(name, kwargs=payload, queue="
            f'"{queue}")`. An element is a `CeleryMessage`.'
        ),
        "messages": {},
        "tags": tags(queue),
    }


def _message(parts: Parts, job: Job[Any, Any], version: int, form: type[BaseModel]) -> Part:
    payload = parts.schemas.taken(form)
    return {
        "name": job.name,
        "title": f"{job.name}, version {version}" if job.upcast else job.name,
        "summary": first(form),
        "description": _description(job, version),
        "contentType": "application/json",
        "headers": _headers(job, version),
        "payload": payload,
        "examples": [_example(parts, job, version, payload)],
        "tags": tags(queue_of(job.name)),
        "x-celery": {"name": job.name, "queue": queue_of(job.name), "kwargs": payload},
        "x-result": parts.schemas.told(job.answer),
    }


def _description(job: Job[Any, Any], version: int) -> str:
    older = "" if version == job.version else f" An older payload, which is brought up to version {job.version}."
    own = codes(refusals(job))
    limited = f" At most {limit(job.limit)}." if job.limit else ""
    return (
        "The payload is the `kwargs` of a Celery message by this name."
        f"{older} Rejected with {own + ' and ' if own else ''}what every task may be rejected with.{limited}"
    )


def _headers(job: Job[Any, Any], version: int) -> Schema:
    needed = ["payload_version"] if version > 1 else []
    return {
        "type": "object",
        "allOf": [{"$ref": f"{HERE}Headers"}],
        "properties": {"task": {"const": job.name}, "payload_version": {"enum": [version, str(version)]}},
        "required": ["task", *needed],
    }


def _example(parts: Parts, job: Job[Any, Any], version: int, payload: Schema) -> Part:
    headers = {"task": job.name, "id": str(derive_id("example", job.name)), "idempotency_key": "order-42"}
    given = {"payload_version": version} if version > 1 else {}
    return {"name": "example", "headers": headers | given, "payload": sample(payload, parts.schemas)}
