"""How soon a job enqueued by SQL starts on an idle system, and what idling costs: `python -m bench.accepted`.

One node on embedded servers with durable settings. First nothing happens for a while, and the processor time of the
node's processes and the commands that Redis carries out are counted. Then single jobs are enqueued, at moments that
have nothing to do with the node's clock. A start is counted from the start of the transaction that enqueues to the
start of the transaction that runs the job, on PostgreSQL's clock.
"""

import argparse
import json
import logging
import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import structlog

from tests.fixtures.jobs import Bank, Runner, empty, settings_for
from tests.fixtures.nodes import WorkerNode, spawn_node, wait_for
from tests.fixtures.sql import enqueue
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

STARTS = """
    SELECT extract(epoch FROM ended_at - first_seen) * 1000 AS ms FROM trivet.jobs
    WHERE task = 'accounts.deposit' AND state = 'succeeded' ORDER BY 1
"""


def cpu_s(node: WorkerNode) -> float:
    """Processor time of the node's processes, in seconds."""
    used = 0
    for pid in (node.pid, *node.pool_pids()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def commands(bank: Bank) -> int:
    """How many commands Redis has carried out, those inside scripts among them."""
    found: int = bank.run.given.redis.info("stats")["total_commands_processed"]
    return found


def idle(bank: Bank, node: WorkerNode, seconds: float) -> dict[str, float]:
    """What a node that has nothing to do costs: percent of a core, commands a second."""
    time.sleep(5)  # it has just started
    cpu, done = cpu_s(node), commands(bank)
    time.sleep(seconds)
    return {
        "idle_core_percent": 100 * (cpu_s(node) - cpu) / seconds,
        "idle_redis_commands_a_second": (commands(bank) - done) / seconds,
    }


def starts_ms(bank: Bank, jobs: int, seed: int) -> list[float]:
    """How soon single jobs start, in milliseconds."""
    chance, (account,) = random.Random(seed), bank.open_many(1, 0)
    for number in range(jobs):
        time.sleep(0.2 + chance.random() / 5)
        with bank.run.given.engine.begin() as connection:
            enqueue(connection, "accounts.deposit", {"account": account, "amount": 1})
        wait_for(lambda number=number: bank.balance(account) == number + 1, 10)  # type: ignore[misc]  # bound at once
    return [float(row.ms) for row in bank.rows(STARTS)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--idle", type=float, default=20, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        folder = Path(name)
        stack = Stack(Place.of(folder / "servers"), Options())
        opened.callback(stack.place.remove)
        opened.callback(stack.kill)
        stack.start()
        given = opened.enter_context(Resources.open(settings_for(stack.urls)))
        migrate(given)
        empty(given)
        bank = Bank(Runner(given))
        node = spawn_node(opened, stack.urls, folder, concurrency=2)
        node.wait_ready()
        found = idle(bank, node, asked.idle)
        took = starts_ms(bank, asked.jobs, asked.seed)
        p99 = statistics.quantiles(took, n=100, method="inclusive")[98]
        found |= {"start_p50_ms": statistics.median(took), "start_p99_ms": p99, "start_max_ms": max(took)}
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))


if __name__ == "__main__":
    main()
