"""A full queue, then a worker: how many jobs a second it ends, by the times that Redis gave the events."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from redis import Redis

from bench.checks import CheckFailed, Expected, check_money, check_outcomes, check_receipts, first_events, require
from bench.contestants import Contestant
from bench.orders import orders
from bench.scene import Scene

STALLED_S: Final = 120
"""How long no event may come before a worker is taken to be stuck; its start is part of it."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Rounds of one contestant: so many jobs, of which a share is rejected for lack of funds.

    `task` is the one of ours whose rows in the ledger of jobs are to be right; None for others' queues.
    """

    scene: Scene
    contestant: Contestant
    jobs: int
    rejected: float = 0.0
    task: str | None = None

    @property
    def name(self) -> str:
        """The contestant's."""
        return self.contestant.name

    def install(self) -> Mapping[str, str]:
        """Make its environment; returns versions. Raises `CannotRun`."""
        return self.contestant.install()

    def rate(self) -> float:
        """Jobs a second: (n - 1) / (last event - first event). Raises `CheckFailed`."""
        work = orders(self.scene.fresh_accounts(), self.jobs, rejected=self.rejected)
        expected = Expected.of(work)
        self.contestant.enqueue(work)
        with ExitStack() as running:
            self.contestant.start(running)
            stamps = await_events(self.scene.bank.run.given.redis, self.jobs).values()
        self._check(expected, len(stamps))
        return (self.jobs - 1) * 1000 / max(1, max(stamps) - min(stamps))

    def _check(self, expected: Expected, events: int) -> None:
        bank = self.scene.bank
        require("distinct events", expected.jobs, events)
        check_money(bank, expected.succeeded)
        check_receipts(bank, self.contestant.receipts_collection, expected.succeeded)
        if self.task:
            check_outcomes(bank, self.task, expected)


def await_events(redis: Redis, count: int) -> dict[str, int]:
    """Wait for so many distinct events; returns when each came first, in milliseconds.

    Raises `CheckFailed` when no more come.
    """
    wanted, seen, limit = count, -1, 0.0
    while True:
        there = int(redis.xlen("events"))
        if there >= wanted:
            if len(first := first_events(redis)) >= count:
                return first
            wanted = there + 1  # some came twice
        if there > seen:
            seen, limit = there, time.monotonic() + STALLED_S
        elif time.monotonic() > limit:
            raise CheckFailed(f"no event for {STALLED_S} s; {there} came of {count}")
        time.sleep(0.05)
