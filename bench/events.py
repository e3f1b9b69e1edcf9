"""What task events cost a worker: `python -m bench.events [--jobs N] [--rounds N]`.

Transfers a second of one node in three ways: without task events, with them while nobody listens, and with a
`trivet flower` that listens on the same machine. Everything else is as in `bench.transfers`: the queue is full
before the node starts, settings are durable, the rate is taken from the stream's times, and rounds alternate.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import structlog

from bench.transfers import POOL, check, fill, rate
from tests.fixtures.flower import LOGIN, FlowerPage, spawn_flower
from tests.fixtures.jobs import Bank, Runner, settings_for
from tests.fixtures.nodes import WorkerNode, spawn_node, wait_for
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

TASK: Final = "accounts.transfer"
WAYS: Final = ("off", "on", "flower")


def measure(way: str, stack: Stack, bank: Bank, count: int, folder: Path) -> dict[str, float]:
    """One run: transfers a second, and the node's CPU milliseconds for each; what Flower knows the end of.

    CPU time is counted from the first event on, so that it leaves the start out. It is what a busy machine distorts
    least.
    """
    fill(bank, count, TASK, "accounts")
    redis: Any = bank.run.given.redis
    found = {}
    with ExitStack() as running:
        flower = _flower(running, stack, folder, count) if way == "flower" else None
        options = () if way == "off" else ("--task-events",)
        node = spawn_node(running, stack.urls, folder, *options, concurrency=POOL, TRIVET_LEASE_S="15")
        wait_for(lambda: redis.xlen("events"), 120)
        begun, used_s = redis.xlen("events"), cpu_s(node)
        found["rate"] = rate(bank, count)
        found["cpu_ms"] = (cpu_s(node) - used_s) * 1000 / (count - begun)
        if flower is not None:
            time.sleep(2)
            ends = [task["state"] for task in flower.tasks().values()]
            found["seen"] = ends.count("SUCCESS") / count
        node.stop()
    check(bank, count)
    return found


def cpu_s(node: WorkerNode) -> float:
    """CPU seconds that the node's main process and its pool have used so far."""
    fields = [
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in (node.pid, *node.pool_pids())
    ]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def _flower(running: ExitStack, stack: Stack, folder: Path, count: int) -> FlowerPage:
    flower = spawn_flower(running, stack.urls, folder, f"--max-tasks={count}", environment=LOGIN)
    wait_for(lambda: "Connected to" in flower.log.read_text())
    return flower


def alternate(stack: Stack, jobs: int, rounds: int, folder: Path) -> dict[str, Any]:
    """One way after the other, and again."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with Resources.open(settings_for(stack.urls)) as given:
        migrate(given)
        bank = Bank(Runner(given))
        for _ in range(rounds):
            for way in WAYS:
                runs[way].append(measure(way, stack, bank, jobs, folder))
                print(f"{way:>8}: {runs[way][-1]}", file=sys.stderr, flush=True)
    medians = {
        figure: {way: statistics.median(run[figure] for run in found) for way, found in runs.items()}
        for figure in ("rate", "cpu_ms")
    }
    ratios = {
        figure: {way: round(median / of["off"], 2) for way, median in of.items()} for figure, of in medians.items()
    }
    return {"runs": runs, "medians": medians, "ratios": ratios}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Place.of(Path(folder) / "servers"), Options())
        stack.start()
        try:
            found = alternate(stack, asked.jobs, asked.rounds, Path(folder))
        finally:
            stack.kill()
            stack.place.remove()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
