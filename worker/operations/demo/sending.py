"""Sends the workload as any Celery client would: task names and JSON, and nothing of ours imported by Celery."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from celery import Celery

from worker.operations.demo.workload import Message

CHUNK: Final = 50

Send = Callable[[Message], None]


def plain_client(broker: str) -> Celery:
    """A Celery app that knows its broker and no task."""
    return Celery(broker=broker, set_as_current=False)


def send(client: Celery, messages: Iterable[Message], meanwhile: Callable[[], None]) -> None:
    """Send the messages in this order; `meanwhile` is called after every few of them."""
    left = iter(messages)
    while chunk := list(islice(left, CHUNK)):
        for message in chunk:
            client.send_task(
                message.task,
                kwargs=message.payload,
                queue=message.queue,
                task_id=message.task_id,
                headers=message.headers,
            )
        meanwhile()
