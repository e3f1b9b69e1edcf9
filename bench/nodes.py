"""Throughput of one node and of two on the same hot accounts: `python -m bench.nodes [--jobs N] [--rounds R]`.

Deposits and transfers over ten accounts, every message delivered twice, on embedded servers with durable settings.
The nodes are up and the queue is full before the clock starts. Rounds alternate between one node and two; the
figures are jobs a second over the middle of the run, as PostgreSQL's clock stamped their ends.
"""

import argparse
import logging
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import structlog

from tests.fixtures.jobs import Bank, Runner, empty, settings_for
from tests.fixtures.load import ended, mixed, send
from tests.fixtures.nodes import spawn_node
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

RATE = """
    SELECT count(*) / extract(epoch FROM max(ended_at) - min(ended_at)) FROM trivet.jobs
    WHERE task IN ('accounts.transfer', 'accounts.deposit')
"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def measure(stack: Stack, bank: Bank, nodes: int, jobs: int, folder: Path) -> float:
    """Jobs a second with so many nodes of one pool process each; the totals are checked."""
    empty(bank.run.given)
    accounts = bank.open_many(10, 100_000)
    messages = mixed(accounts, jobs) * 2
    random.Random(3).shuffle(messages)
    with ExitStack() as running:
        started = [spawn_node(running, stack.urls, folder, concurrency=1) for _ in range(nodes)]
        for node in started:
            node.wait_ready()
        send(bank, messages)
        while ended(bank) < jobs or bank.value("SELECT count(*) FROM trivet.outbox"):
            time.sleep(0.1)
        for node in started:
            node.stop()
    bank.check()
    return float(bank.value(RATE))


def alternate(stack: Stack, jobs: int, rounds: int, folder: Path) -> None:
    """One node, two nodes, and again; prints each figure and the medians."""
    found: dict[int, list[float]] = {1: [], 2: []}
    with Resources.open(settings_for(stack.urls)) as given:
        migrate(given)
        bank = Bank(Runner(given))
        for nodes in [1, 2] * rounds:
            found[nodes].append(measure(stack, bank, nodes, jobs, folder))
            print(f"{nodes} node(s): {found[nodes][-1]:8.0f} jobs/s", flush=True)
        deadlocks = bank.value(DEADLOCKS)
    one, two = (statistics.median(rates) for rates in found.values())
    print(f"median: one {one:.0f}, two {two:.0f}, ratio {two / one:.2f}; deadlocks {deadlocks}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Place.of(Path(folder) / "servers"), Options())
        stack.start()
        try:
            alternate(stack, asked.jobs, asked.rounds, Path(folder))
        finally:
            stack.kill()
            stack.place.remove()


if __name__ == "__main__":
    main()
