"""Completion events as messages, each on the live channel of its type, and all of them in the stream."""

import json
import re
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Final

from docs.asyncapi.parts import Part, Parts, tags
from docs.asyncapi.samples import sample
from docs.asyncapi.schemas import HERE, Schema, Schemas
from docs.asyncapi.wire import UUID_TEXT
from docs.pages.refusals import refusals
from docs.pages.tasks import general_codes
from worker.delivery.events import CHANNEL, STREAM, completion_event, with_sequence
from worker.envelopes import queue_of
from worker.errors import IdempotencyConflict, InvalidPayload, RateLimited
from worker.execution.job import Job
from worker.messages import derive_id

JOB: Final = derive_id("example", "job_id")
ITS_OWN: Final = f"^jobs/{UUID_TEXT}$"
SAID: Final = {
    "succeeded": "committed, and its documents are written",
    "rejected": "refused, without any effect",
    "parked": "given up, until an operator replays or drops it",
}


def add_events(parts: Parts, job: Job[Any, Any]) -> None:
    """Add the three events of a task: schema, channel, message and operation of each."""
    schemas = parts.schemas
    rejection = schemas.put(f"{job.name}.rejection", _rejection(job))
    _add(parts, job, "succeeded", _subject(job, schemas), _data(job, schemas))
    _add(parts, job, "rejected", ITS_OWN, rejection)
    _add(parts, job, "parked", ITS_OWN, {"$ref": f"{HERE}Parked"})


def add_stream(parts: Parts) -> None:
    """Add the stream of all events, and the channel of what is parked under a name that is no task's here."""
    parts.channels[STREAM] = {
        "address": STREAM,
        "title": "The stream of all completion events",
        "description": "A Redis stream, trimmed to about `TRIVET_EVENTS_MAXLEN` entries: read it with XREAD.",
        "messages": {},
    }
    event = {"event": json.dumps(_cloud_event("accounts.deposit.parked", _PARKED), separators=(",", ":"))}
    entry = {
        "name": "StreamEntry",
        "title": "An entry of the stream",
        "contentType": "application/json",
        "payload": {"$ref": f"{HERE}StreamEntry"},
        "examples": [{"name": "example", "payload": event}],
    }
    parts.message("StreamEntry", STREAM, entry)
    parts.operation(STREAM, "send", STREAM, "StreamEntry", summary="Append each completion event.")
    _add_unknown(parts)


def _add_unknown(parts: Parts) -> None:
    parts.channels["unknown.parked"] = {
        "address": f"{CHANNEL}{{task}}.parked",
        "title": "Parked without being a task here",
        "description": "`unreadable` stands for the task of what is no message at all.",
        "parameters": {
            "task": {"description": "The name that the message gave, of no task here, or `unreadable`."}
        },
        "messages": {},
    }
    schema = _event_schema(None, ITS_OWN, {"$ref": f"{HERE}Parked"})
    message = {
        "name": "unknown.parked",
        "title": "A message was parked that is for no task here",
        "contentType": "application/json",
        "payload": parts.schemas.put("unknown.parked", schema),
        "examples": [
            {
                "name": "example",
                "payload": _cloud_event(
                    "unreadable.parked", {"code": "unreadable", "message": "the element is not JSON"}
                ),
            }
        ],
    }
    parts.message("unknown.parked", "unknown.parked", message)
    parts.operation("unknown.parked", "send", "unknown.parked", "unknown.parked")


def _add(parts: Parts, job: Job[Any, Any], outcome: str, subjects: str, data: Schema) -> None:
    kind, slice_tags = f"{job.name}.{outcome}", tags(queue_of(job.name))
    payload = parts.schemas.put(kind, _event_schema(kind, subjects, data))
    summary = f"A job of {job.name} was {SAID[outcome]}."
    parts.channels[kind] = {
        "address": f"{CHANNEL}{kind}",
        "title": kind,
        "description": f"Redis pub/sub, at most once; the stream `{STREAM}` has the same.",
        "messages": {},
        "tags": slice_tags,
    }
    subject = _subject_of_example(parts, job) if outcome == "succeeded" else None
    examples = [_cloud_event(kind, told, subject) for told in _samples(parts, outcome, data)]
    message = {
        "name": kind,
        "title": kind,
        "summary": summary,
        "contentType": "application/json",
        "payload": payload,
        "examples": [{"name": f"example{number}", "payload": each} for number, each in enumerate(examples, 1)],
        "tags": slice_tags,
    }
    parts.message(kind, kind, message)
    parts.operation(kind, "send", kind, kind, title=kind, summary=summary, tags=slice_tags)


def _event_schema(kind: str | None, subject: str, data: Schema) -> Schema:
    named = {"type": {"const": kind}} if kind else {"type": {"pattern": "\\.parked$"}}
    return {
        "type": "object",
        "allOf": [{"$ref": f"{HERE}CloudEvent"}],
        "properties": {**named, "subject": {"type": "string", "pattern": subject}, "data": data},
    }


def _data(job: Job[Any, Any], schemas: Schemas) -> Schema:
    if not job.broadcast:
        return {"type": "null", "description": "Nothing of the result: ask for it with `want_result`."}
    return schemas.without(schemas.told(job.answer), [path.split(".") for path in job.private])


def _rejection(job: Job[Any, Any]) -> Schema:
    found = sorted({*refusals(job), *general_codes()})
    schema: Schema = {
        "type": "object",
        "description": (
            f"Why a job of {job.name} was refused. `{IdempotencyConflict.code}` is an event of its own beside the"
            " job's: its id is taken by another payload, whose outcome stands."
        ),
        "properties": {
            "code": {"type": "string", "enum": found},
            "message": {"type": "string"},
            "field": {"type": "string", "description": "Where in the payload, or which header."},
        },
        "required": ["code", "message"],
    }
    return schema if RateLimited.code not in found else _with_figures(schema)


def _with_figures(schema: Schema) -> Schema:
    figures = {
        "retry_after_s": {"type": "number", "minimum": 0, "description": "Seconds until one more is allowed."},
        "remaining": {"type": "integer", "minimum": 0, "description": "How many are allowed now."},
    }
    is_limited = {"properties": {"code": {"const": RateLimited.code}}, "required": ["code"]}
    return schema | {
        "properties": schema["properties"] | figures,
        "if": is_limited,
        "then": {"required": sorted(figures)},
    }


def _subject(job: Job[Any, Any], schemas: Schemas) -> str:
    """The template as a pattern: a field that is text with a pattern of its own, or a UUID."""
    if job.subject is None:
        return ITS_OWN
    fields = schemas.resolved(schemas.told(job.answer))["properties"]
    fields = fields | schemas.resolved(schemas.taken(job.command))["properties"]
    pieces = ""
    for text, name, _, _ in Formatter().parse(job.subject):
        pieces += re.escape(text) + ("" if name is None else _piece(fields.get(name, {"format": "uuid"})))
    return f"^{pieces}$"


def _piece(field: Schema) -> str:
    match field:
        case {"anyOf": [first, *_]}:
            return _piece(first)
        case {"format": "uuid"}:
            return UUID_TEXT
        case {"enum": values}:
            return f"({'|'.join(values)})"
        case {"pattern": pattern}:
            return f"({pattern.removeprefix('^').removesuffix('$')})"
        case _:
            return ".+"


_PARKED: Final = {"code": "failed", "message": "RuntimeError, 5 times"}


def _samples(parts: Parts, outcome: str, data: Schema) -> list[Any]:
    match outcome:
        case "succeeded":
            return [None if data.get("type") == "null" else sample(data, parts.schemas)]
        case "parked":
            return [_PARKED]
        case _:
            return [
                {"code": InvalidPayload.code, "message": "Field required", "field": "id"},
                {"code": IdempotencyConflict.code, "message": "the job has another payload or task"},
            ]


def _subject_of_example(parts: Parts, job: Job[Any, Any]) -> str:
    command = job.command.model_validate_json(json.dumps(sample(parts.schemas.taken(job.command), parts.schemas)))
    return job.subject_of(command, JOB, sample(parts.schemas.told(job.answer), parts.schemas))


def _cloud_event(kind: str, data: Any, subject: str | None = None) -> Part:
    """An event made by the code that makes them all; without a subject it is the job's own."""
    event = completion_event(
        kind=kind,
        subject=subject or f"jobs/{JOB}",
        time=datetime(2030, 1, 31, 12, tzinfo=UTC),
        data=data,
        job_id=JOB,
        task_id=str(JOB),
    )
    made: Part = json.loads(with_sequence(event, 42))
    return made
