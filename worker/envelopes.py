"""Celery's message protocol 2 on Redis, written by hand: what a worker sends by itself needs no Celery app.

`tests/integration/test_envelopes.py` reads these back with kombu, so that a new kombu cannot surprise us.
"""

import base64
import json
from datetime import datetime
from uuid import UUID, uuid4

from worker.messages import HEADERS, Message

_NOTHING_SPECIAL = {
    "lang": "py",
    "origin": "trivet",
    "argsrepr": "()",
    "kwargsrepr": "{...}",  # shown by Flower: values may be personal
    "ignore_result": True,
    "retries": 0,
    "timelimit": [None, None],
    "replaced_task_nesting": 0,
    "stamps": {},
} | dict.fromkeys(("eta", "expires", "group", "group_index", "parent_id", "shadow", "stamped_headers"))


def queue_of(task: str) -> str:
    """Each job goes to the queue of its first word."""
    return task.partition(".")[0]


def body_of(payload: bytes) -> bytes:
    """The body of a message whose kwargs are this JSON object."""
    return b"[[]," + payload + b',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


def envelope(message: Message, eta: datetime | None = None) -> bytes:
    """The element to push on the left of the queue's list; with `eta`, a node keeps it until that moment."""
    ours = {name: message.headers[name] for name in HEADERS if name in message.headers}
    # Not orjson: a task id may hold what is no UTF-8, and must arrive as it was.
    return json.dumps({
        "body": base64.b64encode(message.body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _celery_headers(message.task, message.task_id) | ours | _not_before(eta),
        "properties": _properties(message.task_id, queue_of(message.task), uuid4()),
    }).encode()  # fmt: skip


def _celery_headers(task: str, task_id: str) -> dict[str, object]:
    return _NOTHING_SPECIAL | {"task": task, "id": task_id, "root_id": task_id}


def _not_before(eta: datetime | None) -> dict[str, object]:
    return {} if eta is None else {"eta": eta.isoformat()}


def _properties(task_id: str, queue: str, tag: UUID) -> dict[str, object]:
    return {
        "correlation_id": task_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(tag),
    }
