"""What an idle node costs, and how fast it wakes: `python -m bench.idle [--seconds N] [--jobs N]`.

One node on embedded servers. First it is left alone: commands to Redis, those in scripts included, and CPU of all
its processes. Then single deposits are pushed, each after the last one's event: the time is from right before the
LPUSH until a subscriber has the live event.
"""

import argparse
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from redis import Redis

from tests.fixtures.jobs import Bank, Runner, message, settings_for
from tests.fixtures.nodes import WorkerNode, spawn_node
from worker.envelopes import envelope
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

SETTLED_S = 5
TICKS_A_SECOND = 100


def idle(redis: Redis, node: WorkerNode, seconds: float) -> dict[str, float]:
    """Commands to Redis a second, and the share of one core, while nothing happens."""
    before, cpu_before, began = _commands(redis), _cpu_s(node.process.pid), time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began
    commands, cpu_s = _commands(redis) - before - 1, _cpu_s(node.process.pid) - cpu_before
    return {"commands_per_s": round(commands / took_s, 1), "cpu": round(cpu_s / took_s, 4)}


def wake_ups(bank: Bank, account: UUID, jobs: int) -> dict[str, float]:
    """Milliseconds from the push to the live event: p50, p99 and the longest."""
    chance = random.Random(1)
    redis = bank.run.given.redis
    took_ms = []
    with redis.pubsub() as live:  # type: ignore[no-untyped-call]  # redis-py has no type here
        live.subscribe("events:accounts.deposit.succeeded")
        live.get_message(timeout=5)
        for _ in range(jobs):
            time.sleep(chance.uniform(0.01, 0.1))
            deposit = envelope(message("accounts.deposit", {"account": account, "amount": 1}))
            began = time.perf_counter()
            redis.lpush("accounts", deposit)
            if live.get_message(timeout=10) is None:
                raise TimeoutError("no event within 10 s")
            took_ms.append((time.perf_counter() - began) * 1000)
    p99 = statistics.quantiles(took_ms, n=100)[98]
    found = {"p50_ms": statistics.median(took_ms), "p99_ms": p99, "max_ms": max(took_ms)}
    return {name: round(value, 1) for name, value in found.items()}


def _commands(redis: Redis) -> int:
    info: Any = redis.info("stats")
    return int(info["total_commands_processed"])


def _cpu_s(parent: int) -> float:
    return sum(_ticks(pid) for pid in _family(parent)) / TICKS_A_SECOND


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _family(parent: int) -> Iterator[int]:
    yield parent
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        yield from _family(int(child))


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--jobs", type=int, default=300)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        stack = Stack(Place.of(Path(folder) / "servers"), Options())
        opened.callback(stack.place.remove)
        opened.callback(stack.kill)
        stack.start()
        given = opened.enter_context(Resources.open(settings_for(stack.urls)))
        migrate(given)
        bank = Bank(Runner(given))
        account = bank.open(0)
        node = spawn_node(opened, stack.urls, Path(folder), TRIVET_LEASE_S="15")
        node.wait_ready()
        time.sleep(SETTLED_S)
        found = {"idle": idle(given.redis, node, asked.seconds), "wake_up": wake_ups(bank, account, asked.jobs)}
        node.stop()
        bank.deliver_all()
        assert bank.balance(account) == asked.jobs
    print(json.dumps(found))


if __name__ == "__main__":
    main()
