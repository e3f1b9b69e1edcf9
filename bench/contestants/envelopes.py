"""Celery messages in any number, pushed in one pipeline: the same for our worker and for plain Celery."""

import json
from collections.abc import Sequence

from redis import Redis

from bench.orders import Order
from worker.envelopes import body_of, envelope, queue_of
from worker.messages import Message


def message_of(order: Order, task: str) -> Message:
    """The order as a plain Celery client would send it, under its own id."""
    payload = {"source": order.source, "target": order.target, "amount": order.amount}
    return Message(task, order.id, body_of(json.dumps(payload).encode()))


def push(redis: Redis, task: str, jobs: Sequence[Order]) -> None:
    """Fill the queue of the task; the first job comes out first."""
    with redis.pipeline(transaction=False) as pipe:
        for order in jobs:
            pipe.lpush(queue_of(task), envelope(message_of(order, task)))
        pipe.execute()
