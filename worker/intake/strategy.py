"""Celery's strategy for our tasks: ordinary messages are gathered, special ones take Celery's own way."""

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from celery.worker.strategy import default as celery_strategy

from worker.intake.gathering import Arrival, Gathering
from worker.messages import HEADERS, Message
from worker.settings import Settings

SPECIAL = ("eta", "expires", "group", "chord")
"""Headers that ask for what only Celery's own strategy does; the job then runs as a batch of one."""

Handler = Callable[..., Any]

_log = logging.getLogger(__name__)  # kombu says there that an acknowledgement was lost with its connection

# One gathering a consumer, and the connection (counted by the consumer) that it was last started on.
_gatherings: WeakKeyDictionary[Any, tuple[Gathering, int]] = WeakKeyDictionary()


def gather(task: Any, app: Any, consumer: Any) -> Handler:
    """Make the handler of one task's messages; all tasks of a node share one gathering."""
    ordinary = _gathering(app, consumer)
    special = celery_strategy(task, app, consumer)
    revoked = consumer.controller.state.revoked
    loop = consumer.hub

    def receive(message: Any, body: Any, ack: Handler, reject: Handler, callbacks: Any, **options: Any) -> Any:
        headers = message.headers
        # Results are ours to store, when asked for by `want_result`; see docs/explanation/results.md.
        headers["ignore_result"] = True
        if body is not None or headers["id"] in revoked or any(headers.get(name) for name in SPECIAL):
            return special(message, body, ack, reject, callbacks, **options)
        ordinary.add(Arrival(_message(message), lambda: ack(_log, consumer.connection_errors)))
        loop.call_soon(ordinary.flush)
        return None

    return receive


def _gathering(app: Any, consumer: Any) -> Gathering:
    gathering, connection = _gatherings.get(consumer) or (None, -1)
    if gathering is None:
        settings: Settings = app.settings
        gathering = Gathering(consumer.pool, consumer.timer, settings)
    if connection != consumer.restart_count:
        gathering.start()
        _gatherings[consumer] = gathering, consumer.restart_count
    return gathering


def _message(message: Any) -> Message:
    headers = message.headers
    body = message.body
    return Message(
        task=headers["task"],
        task_id=headers["id"],
        body=body if isinstance(body, bytes) else body.encode(),
        content_type=message.content_type,
        headers={name: headers[name] for name in HEADERS if name in headers},
    )
