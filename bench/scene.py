"""Where a measurement runs: fresh servers with durable settings, a folder, and somebody to tell how far it is."""

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog
from pymongo.collection import Collection

from bench.orders import ACCOUNTS, OPENING_BALANCE
from tests.fixtures.jobs import Bank, Runner, empty, settings_for
from worker.delivery.node import Node
from worker.operations.embedded import Options, Place, Stack, Urls
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

CLEARED: Final = 10_000
"""Documents that are deleted in one step."""


@dataclass(frozen=True)
class Scene:
    """The servers, a bank on them, a folder for logs, and how many jobs and rounds are asked for.

    `tell` takes one line on what has just been measured, for people who wait. `concurrency` is the number of pool
    processes that each side may have.
    """

    urls: Urls
    bank: Bank
    folder: Path
    jobs: int
    rounds: int
    tell: Callable[[str], None]
    concurrency: int = 2

    def fresh_accounts(self) -> list[UUID]:
        """Empty the stores, and seed them: accounts with funds, no event, no document."""
        for collection in self.bank.run.given.documents.list_collection_names():
            _clear(self.bank.run.given.documents[collection])
        empty(self.bank.run.given)
        half = ACCOUNTS // 2
        accounts = [account for _ in range(2) for account in self.bank.open_many(half, OPENING_BALANCE)]
        self.bank.run.given.redis.delete("events")
        return accounts


def _clear(collection: Collection[Any]) -> None:
    """Delete in steps: hundreds of thousands at once take longer than a client waits for an answer."""
    while found := [document["_id"] for document in collection.find({}, ["_id"]).limit(CLEARED)]:
        collection.delete_many({"_id": {"$in": found}})


@contextmanager
def open_scene(jobs: int, rounds: int, tell: Callable[[str], None]) -> Iterator[Scene]:
    """Start servers of its own in a folder of its own; afterwards both are gone."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        # A slow query on a busy machine must not stand in the midst of a result on stdout.
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        stack = Stack(Place.of(Path(folder) / "servers"), Options())
        opened.callback(stack.place.remove)
        opened.callback(stack.kill)
        stack.start()
        given = opened.enter_context(Resources.open(settings_for(stack.urls)))
        migrate(given)
        node = opened.enter_context(closing(Node()))
        yield Scene(stack.urls, Bank(Runner(given, node)), Path(folder), jobs, rounds, tell)
