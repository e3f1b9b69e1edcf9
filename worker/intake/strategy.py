"""Celery's strategy for our tasks: ordinary messages are gathered, special ones take Celery's own way."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from celery.worker.strategy import default as celery_strategy

from worker.intake.gathering import Arrival, Gathering
from worker.messages import HEADERS, Message
from worker.settings import Settings

SPECIAL = ("group", "chord")
"""Headers that ask for what only Celery's own strategy does; the job then runs as a batch of one."""

PLAIN_TAILS = (
    b', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
    b',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]',
)
"""How the body ends of a message that asks for no callback, no chain and no chord: nearly every one."""

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
        if body is not None or headers["id"] in revoked or _is_special(message):
            return special(message, body, ack, reject, callbacks, **options)
        arrival = Arrival(_message(message), lambda: ack(_log, consumer.connection_errors))
        if (delay_s := _delay_s(headers.get("eta"))) > 0:
            consumer.qos.increment_eventually()
            ordinary.add_later(delay_s, arrival, consumer.qos.decrement_eventually)
        else:
            ordinary.add(arrival)
            loop.call_soon(ordinary.flush)
        return None

    return receive


def close_gatherings() -> None:
    """Start nothing more on this node: it is shutting down."""
    for gathering, _ in _gatherings.values():
        gathering.close()


def _is_special(message: Any) -> bool:
    if any(message.headers.get(name) for name in SPECIAL):
        return True
    body = _bytes(message.body)
    return not body.endswith(PLAIN_TAILS) and _has_callbacks(body)


def _has_callbacks(body: bytes) -> bool:
    try:
        *_, embed = json.loads(body)
        return any(embed.values())
    except (AttributeError, TypeError, ValueError, RecursionError):
        return False  # unreadable, which its batch will find out and record


def _delay_s(eta: str | None) -> float:
    """Seconds until an ETA, by this node's clock; an ETA that cannot be read is due at once."""
    try:
        moment = datetime.fromisoformat(eta) if eta else None
    except (TypeError, ValueError):
        return 0
    if moment is None:
        return 0
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()


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
    return Message(
        task=headers["task"],
        task_id=str(headers["id"]),
        body=_bytes(message.body),
        content_type=message.content_type,
        headers={name: headers[name] for name in HEADERS if name in headers},
    )


def _bytes(body: bytes | str) -> bytes:
    return body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
