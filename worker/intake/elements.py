"""From an element of a queue's list to a message, decoded once; nothing of Celery's or kombu's is made of it."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import orjson

from worker.errors import Unreadable
from worker.messages import HEADER_DEPTH_MAX, HEADERS, Message, is_deeper, printable

SPECIAL: Final = ("group", "chord")
"""Headers that ask for what only Celery's own strategy does; the job then runs as a batch of one."""

PLAIN_TAILS: Final = (
    b', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
    b',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]',
)
"""How the body ends of a message that asks for no callback, no chain and no chord: nearly every one."""

TASK_MAX: Final = 255
"""Characters of a task's name that are kept when nobody knows it."""


@dataclass(frozen=True, slots=True)
class Element:
    """What an element of a queue holds: kombu's payload, the message, and when it is to run.

    `special` messages take Celery's own way.
    """

    payload: dict[str, Any]
    message: Message
    special: bool
    eta: str | None


def read_element(raw: bytes) -> Element:
    """Read what a Celery client pushed. Raises `Unreadable` for anything else."""
    payload = _loads(raw)
    headers = payload.get("headers")
    if not isinstance(headers, dict):
        raise Unreadable("the element has no headers")
    task, task_id = headers.get("task"), headers.get("id")
    if not isinstance(task, str) or not isinstance(task_id, str):
        raise Unreadable("its headers name no task and no id: only Celery's message protocol 2 is read")
    body = _body(payload)
    message = Message(task, task_id, body, str(payload.get("content-type")), _own(headers))
    special = any(headers.get(name) for name in SPECIAL) or _has_callbacks(body)
    return Element(payload, message, special, headers.get("eta"))


def unreadable(raw: bytes) -> Message:
    """An element that cannot be read, as a message to park: the same bytes are the same job."""
    return Message("unreadable", sha256(raw).hexdigest(), raw, content_type="unknown")


def unknown(message: Message) -> Message:
    """A message for a task that nobody knows, with a name that can be kept.

    The rest stays: once its task is known, the same message must be the same job.
    """
    return replace(message, task=printable(message.task)[:TASK_MAX])


def delay_s(eta: str | None) -> float:
    """Seconds until an ETA, by this node's clock; an ETA that cannot be read is due at once."""
    try:
        moment = datetime.fromisoformat(eta) if eta else None
    except (TypeError, ValueError):
        return 0
    if moment is None:
        return 0
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()


def _loads(raw: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(raw)
    except ValueError:
        payload = _loads_anything(raw)
    if not isinstance(payload, dict):
        raise Unreadable(f"the element is not an object but {type(payload).__name__}")
    return payload


def _loads_anything(raw: bytes) -> Any:
    try:
        return json.loads(raw)  # takes escaped surrogates and numbers that are not finite
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the element is not JSON: {error}") from error


def _body(payload: Mapping[str, Any]) -> bytes:
    body, properties = payload.get("body"), payload.get("properties")
    if not isinstance(body, str) or not isinstance(properties, dict):
        raise Unreadable("the element has no body or no properties")
    if properties.get("body_encoding") != "base64":
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable(f"the body is not base64: {error}") from error


def _own(headers: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: headers[name] for name in HEADERS if headers.get(name) is not None}
    if own:
        refuse_deep(own)
    return own


def refuse_deep(headers: Mapping[str, Any]) -> None:
    """Raise `Unreadable` for a header that is nested so deep that it can be sent to no pool process."""
    for name, value in headers.items():
        if is_deeper(value, HEADER_DEPTH_MAX):
            raise Unreadable(
                f"the header {printable(name)[:TASK_MAX]} is nested more than {HEADER_DEPTH_MAX} deep: send text or"
                " a number"
            )


def _has_callbacks(body: bytes) -> bool:
    if body.endswith(PLAIN_TAILS):
        return False
    try:
        *_, embed = json.loads(body)
        return any(embed.values())
    except (AttributeError, TypeError, ValueError, RecursionError):
        return False  # unreadable, which its batch will find out and record
