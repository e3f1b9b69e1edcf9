"""What kill -9 costs: `python -m bench.kills [--kills N] [--rate R] [--lease S]`.

Two nodes on embedded servers, and a client that sends single deposits, so many a second. One node after the other
is killed at a random moment and started again. Then all is left to finish, and it is checked that every job has
ended once and none was parked. The figures are the seconds from a kill until nobody held anything in the dead
node's name.
"""

import argparse
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import structlog

from tests.fixtures.fleet import Fleet, Load, loaded
from tests.fixtures.jobs import Bank, Runner, message, settings_for
from tests.fixtures.load import ended, settle
from tests.fixtures.nodes import WorkerNode, spawn_node
from worker.operations.embedded import Options, Place, Stack, Urls
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

LONGEST_S = 3_600


def start(running: ExitStack, urls: Urls, folder: Path, lease_s: str) -> WorkerNode:
    """One more node, ready to take messages."""
    node = spawn_node(running, urls, folder, concurrency=1, TRIVET_LEASE_S=lease_s)
    node.wait_ready()
    return node


def kill(fleet: Fleet, kills: int) -> list[float]:
    """Kill one of two nodes, so many times; returns how long each takeover took, in seconds."""
    chance = random.Random(1)
    nodes = [fleet.add(), fleet.add()]
    takeovers: list[Future[float]] = []
    for number in range(kills):
        time.sleep(chance.uniform(0, 1))
        takeovers.append(fleet.kill(nodes.pop(chance.randrange(2))))
        nodes.append(fleet.add())
        if number % 10 == 9:
            print(f"{number + 1} kills", flush=True)
    return [takeover.result(60) for takeover in takeovers]


def report(bank: Bank, load: Load, took_s: Sequence[float]) -> None:
    """Check, and print."""
    settle(bank, load.sent)
    parked = bank.value("SELECT count(*) FROM trivet.jobs WHERE state = 'parked'")
    print(f"{len(took_s)} kills, {load.sent:,} jobs: {load.sent - ended(bank)} lost, {parked} parked")
    print(f"taken over after: p50 {statistics.median(took_s):.2f} s, max {max(took_s):.2f} s")


def main() -> None:
    """Kill, wait, check, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--lease", type=float, default=3)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        stack = Stack(Place.of(Path(folder) / "servers"), Options(appendfsync="always"))
        stack.start()
        running.callback(stack.place.remove)
        running.callback(stack.kill)
        given = running.enter_context(Resources.open(settings_for(stack.urls)))
        migrate(given)
        bank = Bank(Runner(given))
        account = bank.open(0)
        count = min(int(asked.rate * LONGEST_S), int(asked.rate * (asked.kills + 10) * 10))
        messages = [message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(count)]
        fleet = Fleet(given.redis, partial(start, running, stack.urls, Path(folder), str(asked.lease)))
        with loaded(given.redis, messages, asked.rate) as load:
            took_s = kill(fleet, asked.kills)
        report(bank, load, took_s)


if __name__ == "__main__":
    main()
