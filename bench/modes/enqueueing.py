"""Messages a second into a queue: `enqueue_many` beside a loop of `send_task` of a plain Celery client.

Both send the same payloads, dicts of plain values, and rounds alternate. A third way makes commands first, as the
documentation advises. After each run the queue has as many messages as were sent, and kombu reads the first ones.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from celery import Celery
from kombu.connection import Connection

from bench.checks import require
from bench.modes.alone import main
from bench.modes.figures import median, told
from bench.modes.held_queue import TASK
from bench.orders import orders
from bench.scene import Scene
from tasks.accounts import Transfer, transfer
from worker import producer
from worker.envelopes import queue_of

QUEUE = queue_of(TASK)
SAMPLE = 20

Payloads = Sequence[Mapping[str, Any]]
Way = Callable[[Payloads], None]


def measure(scene: Scene) -> dict[str, Any]:
    """Returns runs of each way, and the ratio `enqueue_many`."""
    accounts = scene.fresh_accounts()
    payloads = [
        {"source": one.source, "target": one.target, "amount": one.amount} for one in orders(accounts, scene.jobs)
    ]
    with _producing(scene), Celery(broker=scene.urls.redis, set_as_current=False) as client:
        ways: dict[str, Way] = {
            "enqueue_many": _enqueue_many,
            "enqueue_many_of_commands": _enqueue_many_of_commands,
            "send_task": partial(_send_task, client),
        }
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for name, way in [*ways.items()] * scene.rounds:
            runs[name].append({"rate": _rate(scene, way, payloads)})
            scene.tell(f"{name}: {runs[name][-1]['rate']:.0f} messages/s")
    ours, theirs = (median(runs[name], "rate") for name in ("enqueue_many", "send_task"))
    return {"runs": {name: told(found) for name, found in runs.items()}, "ratios": {"enqueue_many": ours / theirs}}


def _enqueue_many(payloads: Payloads) -> None:
    transfer.enqueue_many(payloads)


def _enqueue_many_of_commands(payloads: Payloads) -> None:
    transfer.enqueue_many(_command(**payload) for payload in payloads)


def _command(source: str, target: str, amount: int) -> Transfer:
    return Transfer(source=UUID(source), target=UUID(target), amount=amount)


def _send_task(client: Celery, payloads: Payloads) -> None:
    for payload in payloads:
        client.send_task(TASK, kwargs=payload, queue=QUEUE)


def _rate(scene: Scene, way: Way, payloads: Payloads) -> float:
    redis = scene.bank.run.given.redis
    way(payloads[:1])  # it connects
    redis.delete(QUEUE)
    began = time.perf_counter()
    way(payloads)
    took_s = time.perf_counter() - began
    require("messages in the queue", len(payloads), redis.llen(QUEUE))
    _check_sample(scene, payloads[:SAMPLE])
    redis.delete(QUEUE)
    return len(payloads) / took_s


def _check_sample(scene: Scene, expected: Payloads) -> None:
    with Connection(scene.urls.redis) as connection, closing(connection.SimpleQueue(QUEUE)) as queue:
        for payload in expected:
            message = queue.get(timeout=5)
            message.ack()
            require("what kombu reads", (TASK, payload), (message.headers["task"], message.payload[1]))


@contextmanager
def _producing(scene: Scene) -> Iterator[None]:
    """The producer of this process sends to the scene's Redis: it reads the environment when it is opened."""
    before = os.environ.get("TRIVET_REDIS_URL")
    producer.close()
    os.environ["TRIVET_REDIS_URL"] = scene.urls.redis
    try:
        yield
    finally:
        producer.close()
        if before is None:
            del os.environ["TRIVET_REDIS_URL"]
        else:
            os.environ["TRIVET_REDIS_URL"] = before


if __name__ == "__main__":
    main(measure, jobs=20_000)
