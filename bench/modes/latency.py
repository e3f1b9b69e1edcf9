"""Latency of an idle worker: from right before the enqueue until a subscriber has the live event.

One transfer at a time, each sent a random while after the last one's event; ours and the same work as a plain
Celery task, in alternating rounds. The same client pushes the same Celery message for both, and both write the
receipt with `w=majority` before they publish.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from bench.checks import CheckFailed, check_money, check_receipts, require
from bench.contestants.envelopes import message_of
from bench.modes.alone import main
from bench.modes.figures import median, p99, told
from bench.modes.held_queue import START_S, TASK, check, drain, stream
from bench.orders import Order, orders
from bench.scene import Scene
from bench.workers import start_node, start_plain
from tests.fixtures.nodes import WorkerNode
from worker.envelopes import envelope, queue_of

AT_MOST: Final = 500
"""Jobs a round, however many are asked for: an idle worker takes its time."""

WARM_UP: Final = 20
PAUSE_S: Final = (0.01, 0.1)


@dataclass(frozen=True)
class Side:
    """A worker and the task that it runs; its events come live on the channel."""

    task: str
    channel: str
    start: Callable[[ExitStack, Scene], WorkerNode]


SIDES: Final = {
    "trivet": Side(TASK, f"events:{TASK}.succeeded", start_node),
    "celery": Side("plain.transfer", "events:plain.transfer", start_plain),
}


def measure(scene: Scene) -> dict[str, Any]:
    """Returns p50, p99 and max of each round in ms, and the ratios `latency_p50` and `latency_p99_over_p50`."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    for number in range(scene.rounds):
        for name, side in SIDES.items():
            runs[name].append(_round(scene, side, number))
            scene.tell(f"{name}: " + ", ".join(f"{key} {value:.1f}" for key, value in runs[name][-1].items()))
    p50 = {name: median(found, "p50_ms") for name, found in runs.items()}
    ratios = {
        "latency_p50": p50["trivet"] / p50["celery"],
        "latency_p99_over_p50": median(runs["trivet"], "p99_ms") / p50["trivet"],
    }
    return {"runs": {name: told(found) for name, found in runs.items()}, "ratios": ratios}


def _round(scene: Scene, side: Side, number: int) -> dict[str, float]:
    jobs = orders(scene.fresh_accounts(), WARM_UP + min(scene.jobs, AT_MOST), seed=number)
    with ExitStack() as running:
        worker = side.start(running, scene)
        took_ms = _one_by_one(scene, side, jobs)[WARM_UP:]
        if side.task == TASK:
            check(scene, drain(scene, len(jobs)), len(jobs))
        else:
            _check_plain(scene, len(jobs))
        worker.stop()
    return {"p50_ms": statistics.median(took_ms), "p99_ms": p99(took_ms), "max_ms": max(took_ms)}


def _one_by_one(scene: Scene, side: Side, jobs: Sequence[Order]) -> list[float]:
    """Milliseconds that each took; the first one waits for the worker's start."""
    redis, chance = scene.bank.run.given.redis, random.Random(1)
    took_ms: list[float] = []
    with redis.pubsub(ignore_subscribe_messages=True) as live:  # type: ignore[no-untyped-call]  # redis-py has no type
        live.subscribe(side.channel)
        live.get_message(timeout=5)
        for job in jobs:
            element, queue = envelope(message_of(job, side.task)), queue_of(side.task)
            time.sleep(chance.uniform(*PAUSE_S))
            began = time.perf_counter()
            redis.lpush(queue, element)
            event = live.get_message(timeout=10 if took_ms else START_S)
            took_ms.append((time.perf_counter() - began) * 1000)
            if event is None or job.id.encode() not in event["data"]:
                raise CheckFailed(f"no event of job {job.id} of {side.task} came in time")
    return took_ms


def _check_plain(scene: Scene, count: int) -> None:
    check_money(scene.bank, count)
    check_receipts(scene.bank, "plain_receipts", count)
    require("distinct events", count, len({event.id for event in stream(scene)}))


if __name__ == "__main__":
    main(measure, jobs=AT_MOST)
