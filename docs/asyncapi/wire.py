"""What the runtime itself puts around payloads and data: headers, Celery's envelope, CloudEvents."""

from typing import Any, Final

from docs.asyncapi.schemas import HERE, Schema
from docs.pages.events import parked_codes
from worker.delivery.events import SOURCE
from worker.messages import KEY_MAX

UUID_TEXT: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TRACE: Final = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


def runtime_schemas() -> dict[str, Schema]:
    """The components that belong to no task."""
    return {
        "CeleryBody": _BODY,
        "CeleryMessage": _ELEMENT,
        "CloudEvent": _EVENT,
        "Headers": _HEADERS,
        "Parked": parked(),
        "StreamEntry": _ENTRY,
    }


def parked() -> Schema:
    """The data of the event of a job that was given up."""
    codes = parked_codes()
    return {
        "type": "object",
        "description": "Why a job was given up, until an operator replays or drops it.",
        "properties": {"code": {"type": "string", "enum": codes}, "message": {"type": "string"}},
        "required": ["code", "message"],
        "examples": [{"code": "failed", "message": "RuntimeError, 5 times"}],
    }


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


_HEADERS: Final[Schema] = {
    "type": "object",
    "description": (
        "The headers of a Celery message, protocol 2. A client of Celery sets `task`, `id` and others by itself;"
        " a producer may set those that are described here."
    ),
    "properties": {
        "task": _text("The task's name."),
        "id": _text(
            "The task id. The job's id is this one if it is a UUID and there is no `idempotency_key`.", minLength=1
        ),
        "idempotency_key": _text(
            "The job's id is made from the task and this key: the same key takes effect once.",
            minLength=1,
            maxLength=KEY_MAX,
            pattern="^[^\\u0000]*$",
        ),
        "want_result": {"type": "boolean", "description": "Store the result, so that `AsyncResult.get()` works."},
        "deadline": _text("Not worth starting afterwards: RFC 3339 with its zone.", format="date-time"),
        "payload_version": {"description": "The version of the payload; 1 when it is left out.", "default": 1},
        "traceparent": _text("W3C trace context; the completion event carries it on.", pattern=TRACE),
    },
    "required": ["task", "id"],
}

_BODY: Final[Schema] = {
    "type": "array",
    "description": "A message's body: no positional arguments, the payload as keyword arguments, Celery's own.",
    "items": [{"type": "array", "maxItems": 0}, {"type": "object"}, {"type": "object"}],
    "minItems": 3,
    "maxItems": 3,
}

_ELEMENT: Final[Schema] = {
    "type": "object",
    "description": (
        "The element of the Redis list. `body` is the payload in Celery's envelope: base64 of the JSON"
        " `[[], <payload>, {…}]`. It goes in on the left, by LPUSH."
    ),
    "properties": {
        "body": _text("Base64 of a `CeleryBody` in JSON.", contentEncoding="base64"),
        "content-type": {"const": "application/json"},
        "content-encoding": {"const": "utf-8"},
        "headers": {"$ref": f"{HERE}Headers"},
        "properties": {
            "type": "object",
            "properties": {
                "body_encoding": {"const": "base64"},
                "correlation_id": _text("The task id once more."),
                "delivery_info": {"type": "object"},
                "delivery_tag": _text("Any text that no other message has."),
                "priority": {"type": "integer", "minimum": 0, "maximum": 9, "description": "0 goes first."},
            },
            "required": ["body_encoding", "delivery_info", "delivery_tag"],
        },
    },
    "required": ["body", "content-type", "content-encoding", "headers", "properties"],
}

_EVENT: Final[Schema] = {
    "type": "object",
    "description": "A completion event: a CloudEvent 1.0 in JSON. Pass over attributes that are not known to you.",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": _text(
            "Made from the job's id, the type and the number of replays: a repeat has the same.", format="uuid"
        ),
        "source": {"const": SOURCE},
        "type": _text("`<task>.<outcome>`."),
        "subject": _text("The row that the job locked, or `jobs/<job id>`."),
        "time": _text("Of the job's transaction, on PostgreSQL's clock, in UTC.", format="date-time"),
        "datacontenttype": {"const": "application/json"},
        "data": {"description": "The result without its private fields; or why it was rejected or parked."},
        "jobid": _text("The job's id: the ledger's key.", format="uuid"),
        "taskid": _text("The id of the Celery message."),
        "sequence": {"type": "integer", "minimum": 1, "description": "Rises within a subject."},
        "traceparent": _text("The producer's, when it was given.", pattern=TRACE),
    },
    "required": [
        *("specversion", "id", "source", "type", "subject", "time"),
        *("datacontenttype", "data", "jobid", "taskid", "sequence"),
    ],
}

_ENTRY: Final[Schema] = {
    "type": "object",
    "description": "The fields of an entry in the Redis stream.",
    "properties": {
        "event": _text(
            "The CloudEvent in JSON: the same text as on its live channel.", contentMediaType="application/json"
        ),
        "again": _text("Only there when Redis had lost the event, and it was appended again.", const="1"),
    },
    "required": ["event"],
    "additionalProperties": False,
}
