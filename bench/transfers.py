"""Transfers a second, beside the same work as a plain Celery task: `python -m bench.transfers [--jobs N]`.

Three ways: the set-based body, the single body through the ORM, and the plain task. The queue is full before the
worker starts; 1,000 accounts; durable settings. The figure is (n - 1) / (last event - first event), by the times
that Redis gave the stream's entries. Rounds alternate; money is checked after each.
"""

import argparse
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from tests.fixtures.jobs import Bank, Runner, empty, message, settings_for
from tests.fixtures.nodes import spawn_node, wait_for
from worker.envelopes import envelope
from worker.messages import Message
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

ACCOUNTS = 1_000
POOL = 2


def transfers(accounts: list[UUID], count: int, task: str) -> list[Message]:
    """Small transfers between random accounts."""
    chance = random.Random(7)
    jobs = []
    for _ in range(count):
        source, target = chance.sample(accounts, 2)
        jobs.append(message(task, {"source": source, "target": target, "amount": chance.randint(1, 3)}, uuid4()))
    return jobs


def rate(bank: Bank, count: int) -> float:
    """Wait for that many events; events a second between the first and the last, as Redis stamped them."""
    redis = bank.run.given.redis
    wait_for(lambda: redis.xlen("events") >= count, 600)
    first: Any = redis.xrange("events", count=1)
    last: Any = redis.xrevrange("events", count=1)
    stamps = [int(entry[0][0].split(b"-")[0]) for entry in (first, last)]
    return (count - 1) * 1000 / (stamps[1] - stamps[0])


def fill(bank: Bank, count: int, task: str, queue: str) -> None:
    """Fresh accounts, and a full queue."""
    empty(bank.run.given)
    accounts = [account for _ in range(2) for account in bank.open_many(ACCOUNTS // 2, 1_000_000)]
    bank.run.given.redis.delete("events")
    with bank.run.given.redis.pipeline(transaction=False) as pipe:
        for job in transfers(accounts, count, task):
            pipe.lpush(queue, envelope(job))
        pipe.execute()


def ours(task: str, stack: Stack, bank: Bank, count: int, folder: Path) -> float:
    """Trivet: one node, its pool of two."""
    fill(bank, count, task, "accounts")
    with ExitStack() as running:
        node = spawn_node(running, stack.urls, folder, concurrency=POOL, TRIVET_LEASE_S="15")
        found = rate(bank, count)
        node.stop()
    check(bank, count)
    assert bank.run.given.documents["receipts"].count_documents({}) == count
    return found


def plain(stack: Stack, bank: Bank, count: int, folder: Path) -> float:
    """A plain Celery worker with the same pool."""
    fill(bank, count, "plain.transfer", "plain")
    bank.run.given.documents["plain_receipts"].delete_many({})
    with (folder / "plain.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "bench.plain", "worker", f"--concurrency={POOL}", "-Q", "plain"],
            env=os.environ | stack.urls.environment(),
            stdout=log,
            stderr=log,
        )
    try:
        return rate(bank, count)
    finally:
        worker.terminate()
        worker.wait()
        check(bank, count)


WAYS: Final[dict[str, Callable[[Stack, Bank, int, Path], float]]] = {
    "set": partial(ours, "accounts.transfer"),
    "single": partial(ours, "accounts.transfer_singly"),
    "celery": plain,
}


def check(bank: Bank, count: int) -> None:
    """Money is conserved, and every transfer has its entries."""
    assert bank.value("SELECT sum(amount) FROM ledger_entries") == 0
    assert bank.value("SELECT count(*) FROM ledger_entries") == 2 * (count + ACCOUNTS)


def alternate(stack: Stack, jobs: int, rounds: int, folder: Path) -> dict[str, Any]:
    """One way after the other, and again."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with Resources.open(settings_for(stack.urls)) as given:
        migrate(given)
        bank = Bank(Runner(given))
        for _ in range(rounds):
            for name, measure in WAYS.items():
                found[name].append(measure(stack, bank, jobs, folder))
                print(f"{name:>8}: {found[name][-1]:8.0f} transfers/s", file=sys.stderr, flush=True)
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    ratios = {name: round(median / medians["celery"], 2) for name, median in medians.items()}
    return {"runs": found, "medians": medians, "ratios": ratios}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Place.of(Path(folder) / "servers"), Options())
        stack.start()
        try:
            found = alternate(stack, asked.jobs, asked.rounds, Path(folder))
        finally:
            stack.kill()
            stack.place.remove()
    print(json.dumps(found | {"seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main()
