"""The steps of a trial of `bench.kills`: send as a plain Celery client, kill workers, settle, count."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench import client
from bench.sides import Side, TakenOver
from tests.fixtures.jobs import Bank
from worker.envelopes import queue_of
from worker.operations.embedded import Urls

ACCOUNTS = 100
GRACE_S = 2
"""How long after a lease the takeover may come."""
WATCHED_S = 120
SETTLED_S = 300
QUIET_S = 5


@dataclass(frozen=True)
class Fall:
    """One kill of the schedule: not before so many seconds after the last one, then a pause, then one of two."""

    apart_s: float
    pause_s: float
    victim: int


@dataclass(frozen=True)
class Sent:
    """A deposit that the client was told is accepted."""

    task_id: UUID
    account: UUID
    amount: int


@dataclass(frozen=True)
class Found:
    """What became of the jobs that were sent; `took_s` are the seconds from each kill to its takeover.

    `lost` had no effect and are nowhere any more. `waiting` are messages still in the queue or in hand, where
    a side could not keep up; repeats may be among them.
    """

    lease_s: float
    sent: int
    lost: int
    waiting: int
    repeated: int
    wrong_balances: int
    endings: dict[str, int]
    took_s: list[float]
    seconds: float

    @property
    def takeovers(self) -> list[float]:
        """Those that were any: what is over before the lease can have run out had nothing in hand."""
        return [took_s for took_s in self.took_s if took_s > self.lease_s / 2]


def drawn(seed: int, kills: int, lease_s: float) -> list[Fall]:
    """The schedule, from the seed.

    The kills lie as far apart as a takeover may take: what is promised is that those who live take over.
    """
    chance = random.Random(seed)
    return [Fall(lease_s + GRACE_S, chance.uniform(0, 1), chance.randrange(2)) for _ in range(kills)]


@contextmanager
def sending(urls: Urls, accounts: Sequence[UUID], task: str, rate: float, seed: int, out: Path) -> Iterator[None]:
    """Let the client send while the block runs, and finish what it began."""
    arguments = [urls.redis, task, queue_of(task), str(rate), str(seed)]
    with (
        out.open("wb") as output,
        subprocess.Popen(
            [sys.executable, str(client.__file__), *arguments], stdin=subprocess.PIPE, stdout=output, text=True
        ) as process,
    ):
        try:
            assert process.stdin is not None
            print(*accounts, file=process.stdin)
            process.stdin.close()
            yield
            assert process.poll() is None, "the client has ended by itself"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def kill_all(side: Side, falls: Sequence[Fall], tell: Callable[[int], None]) -> list[float]:
    """Kill as scheduled, always with two workers alive before; returns how long each takeover took."""
    nodes = [side.start(), side.start()]
    takeovers: list[Future[float]] = []
    with ThreadPoolExecutor(32) as watchers:
        for number, fall in enumerate(falls, 1):
            time.sleep(fall.pause_s)
            taken_over, killed_at = nodes[fall.victim](), time.monotonic()
            takeovers.append(watchers.submit(_seconds_until, taken_over, killed_at))
            nodes[fall.victim] = side.start()
            time.sleep(max(0.0, killed_at + fall.apart_s - time.monotonic()))
            tell(number)
        return [takeover.result() for takeover in takeovers]


def settle(side: Side) -> None:
    """Wait until all has been idle for a while, but not for ever: what is left then counts as lost."""
    began = quiet_since = time.monotonic()
    while time.monotonic() < min(quiet_since + QUIET_S, began + SETTLED_S):
        if not side.idle():
            quiet_since = time.monotonic()
        time.sleep(0.1)


def read(path: Path) -> list[Sent]:
    """What the client wrote."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [Sent(UUID(task_id), UUID(account), int(amount)) for task_id, account, amount in lines]


def count(bank: Bank, sent: Sequence[Sent]) -> tuple[int, int, int]:
    """How many jobs had no effect, how many more than one, and how many accounts have not what was sent to them."""
    rows = bank.rows("SELECT movement_id, count(*) AS entries FROM ledger_entries GROUP BY movement_id")
    entries = {row.movement_id: row.entries for row in rows}
    assert entries.keys() <= {one.task_id for one in sent}, "something took effect that nobody sent"
    due: Counter[UUID] = Counter()
    for one in sent:
        due[one.account] += one.amount
    balances = bank.rows("SELECT id, balance FROM accounts")
    wrong = sum(row.balance != due[row.id] for row in balances)
    return len(sent) - len(entries), sum(number != 2 for number in entries.values()), wrong


def _seconds_until(true: TakenOver, since: float) -> float:
    """At most `WATCHED_S`: whoever needs that long has failed anyway."""
    while not true() and time.monotonic() < since + WATCHED_S:
        time.sleep(0.02)
    return time.monotonic() - since
