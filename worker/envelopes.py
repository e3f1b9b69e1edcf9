"""Celery's message protocol 2 on Redis, written by hand: what a worker sends by itself needs no Celery app.

`tests/integration/test_envelopes.py` reads these back with kombu, so that a new kombu cannot surprise us.
"""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from worker.messages import HEADERS, Message, random_id

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
} | dict.fromkeys(("parent_id", "shadow", "stamped_headers"))
_NOT_GIVEN = dict.fromkeys(("eta", "expires", "group", "group_index"))
_PROPERTIES = {"reply_to": "", "delivery_mode": 2, "priority": 0, "body_encoding": "base64"}


def queue_of(task: str) -> str:
    """Each job goes to the queue of its first word."""
    return task.partition(".")[0]


def body_of(payload: bytes) -> bytes:
    """The body of a message whose kwargs are this JSON object."""
    return b"[[]," + payload + b',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


def envelope(message: Message, eta: datetime | None = None) -> bytes:
    """The element to push on the left of the queue's list; with `eta`, a node keeps it until that moment."""
    # Not orjson: a task id may hold what is no UTF-8, and must arrive as it was.
    of_task, of_delivery = _same_for_all(message.task)
    task_id, given = json.dumps(message.task_id), _given(message, eta)
    headers = f'{of_task}, {given}, "id": {task_id}, "root_id": {task_id}'
    properties = f'{of_delivery}, "correlation_id": {task_id}, "delivery_tag": "{random_id()}"'
    body = base64.b64encode(message.body).decode()
    return f'{{"body": "{body}", {_CONTENT}, "headers": {{{headers}}}, "properties": {{{properties}}}}}'.encode()


def _fields(of: Mapping[str, object]) -> str:
    """As JSON, without the braces."""
    return json.dumps(of)[1:-1]


_CONTENT = _fields({"content-encoding": "utf-8", "content-type": "application/json"})
_NONE_GIVEN = _fields(_NOT_GIVEN)


@lru_cache(maxsize=1_000)
def _same_for_all(task: str) -> tuple[str, str]:
    """Headers and properties that all messages of a task have: who sends many would spend most of the time here."""
    delivery_info = {"exchange": "", "routing_key": queue_of(task)}
    return _fields(_NOTHING_SPECIAL | {"task": task}), _fields(_PROPERTIES | {"delivery_info": delivery_info})


def _given(message: Message, eta: datetime | None) -> str:
    """The headers that a producer may give."""
    ours = {name: message.headers[name] for name in HEADERS if name in message.headers} if message.headers else {}
    if eta is not None:
        ours["eta"] = eta.isoformat()
    return _fields(_NOT_GIVEN | ours) if ours else _NONE_GIVEN
