"""What an idle node costs, and how fast it wakes.

In each round a fresh node is left alone: commands to Redis, those in scripts included, and CPU of its processes.
Then single deposits are pushed, each a random while after the last one's event: the time is from right before the
push until a subscriber has the live event.
"""

import random
import statistics
import time
from contextlib import ExitStack
from typing import Any, Final
from uuid import UUID

from bench.checks import CheckFailed, require
from bench.modes.alone import main
from bench.modes.figures import median, p99, told
from bench.modes.processes import cpu_s
from bench.scene import Scene
from bench.workers import start_node
from tests.fixtures.jobs import message
from tests.fixtures.nodes import WorkerNode
from worker.envelopes import envelope

AT_MOST: Final = 300
"""Deposits a round, however many jobs are asked for."""

SETTLED_S: Final = 5


def measure(scene: Scene, *, seconds: float = 30) -> dict[str, Any]:
    """Returns runs, no ratio, and `idle`: `requests_per_s` to Redis, and `cpu` as a share of one core."""
    runs = []
    for _ in range(scene.rounds):
        runs.append(_round(scene, seconds))
        scene.tell("idle: " + ", ".join(f"{name} {value:.4g}" for name, value in runs[-1].items()))
    found = {name: median(runs, name) for name in ("requests_per_s", "cpu")}
    return {"runs": {"idle": told(runs)}, "ratios": {}, "idle": found}


def _round(scene: Scene, seconds: float) -> dict[str, float]:
    account, jobs = scene.fresh_accounts()[0], min(scene.jobs, AT_MOST)
    before = scene.bank.balance(account)
    with ExitStack() as running:
        node = start_node(running, scene)
        node.wait_ready()
        time.sleep(SETTLED_S)
        found = _left_alone(scene, node, seconds) | _woken(scene, account, jobs)
        node.stop()
    require("what deposits of 1 brought", jobs, scene.bank.balance(account) - before)
    return found


def _left_alone(scene: Scene, node: WorkerNode, seconds: float) -> dict[str, float]:
    before, cpu_before, began = _commands(scene), cpu_s(node.pid), time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began
    commands = _commands(scene) - before - 1  # the question itself is one
    return {"requests_per_s": commands / took_s, "cpu": (cpu_s(node.pid) - cpu_before) / took_s}


def _woken(scene: Scene, account: UUID, jobs: int) -> dict[str, float]:
    redis, chance, took_ms = scene.bank.run.given.redis, random.Random(1), []
    with redis.pubsub(ignore_subscribe_messages=True) as live:  # type: ignore[no-untyped-call]  # redis-py has no type
        live.subscribe("events:accounts.deposit.succeeded")
        live.get_message(timeout=5)
        for _ in range(jobs):
            time.sleep(chance.uniform(0.01, 0.1))
            deposit = envelope(message("accounts.deposit", {"account": account, "amount": 1}))
            began = time.perf_counter()
            redis.lpush("accounts", deposit)
            if live.get_message(timeout=10) is None:
                raise CheckFailed("no event within 10 s")
            took_ms.append((time.perf_counter() - began) * 1000)
    return {"wake_p50_ms": statistics.median(took_ms), "wake_p99_ms": p99(took_ms), "wake_max_ms": max(took_ms)}


def _commands(scene: Scene) -> int:
    info: Any = scene.bank.run.given.redis.info("stats")
    return int(info["total_commands_processed"])


if __name__ == "__main__":
    main(measure, jobs=AT_MOST)
