"""A full queue, the events that come out of it with the times that Redis gave them, and what must be true then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bench.contestants.envelopes import push
from bench.orders import ACCOUNTS, orders
from bench.scene import Scene
from tests.fixtures.nodes import wait_for
from worker.envelopes import queue_of
from worker.intake.queues import Queues

TASK: Final = "accounts.transfer"
SLOWEST: Final = 50
"""Jobs a second below which a run is given up."""

START_S: Final = 180
"""How long a worker may take to start, on a busy machine."""

_PUSHED = 10_000
_READ = 5_000


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the stream: when it came, in milliseconds on Redis' clock, and the id of its event."""

    at_ms: int
    id: str


def fill(scene: Scene, count: int, *, among: int = ACCOUNTS) -> None:
    """Empty the stores, seed accounts, and queue transfers between so many of them."""
    jobs = orders(scene.fresh_accounts()[:among], count)
    for start in range(0, count, _PUSHED):  # a pipeline is kept in memory
        push(scene.bank.run.given.redis, TASK, jobs[start : start + _PUSHED])


def hold(scene: Scene) -> None:
    """Let no node take anything yet."""
    Queues(scene.bank.run.given.redis).pause(queue_of(TASK))


def release(scene: Scene) -> None:
    """Let the nodes begin, all at once."""
    Queues(scene.bank.run.given.redis).resume(queue_of(TASK))


def wait_for_nodes(scene: Scene, count: int) -> None:
    """Until so many nodes have a lease, whatever they log."""
    queues = Queues(scene.bank.run.given.redis)
    wait_for(lambda: len(queues.overview([queue_of(TASK)]).nodes) >= count, START_S)


def drain(scene: Scene, count: int) -> list[Event]:
    """Wait until so many events are there and nothing is owed; returns the events, in order."""
    redis = scene.bank.run.given.redis
    wait_for(lambda: redis.xlen("events") >= count, START_S + count / SLOWEST)
    wait_for(lambda: scene.bank.value("SELECT count(*) FROM trivet.outbox") == 0, 60)
    return stream(scene)


def stream(scene: Scene) -> list[Event]:
    """Every event in the stream, in order."""
    found: list[Event] = []
    after = "-"
    while entries := _entries(scene, after):
        found += [
            Event(int(entry.partition(b"-")[0]), orjson.loads(fields[b"event"])["id"]) for entry, fields in entries
        ]
        after = f"({entries[-1][0].decode()}"
    return found


def rate(events: Sequence[Event]) -> float:
    """Events a second between the first and the last of these; Redis' clock counts milliseconds."""
    return (len(events) - 1) * 1000 / max(1, events[-1].at_ms - events[0].at_ms)


def check(scene: Scene, events: Sequence[Event], count: int) -> None:
    """Each of so many transfers succeeded, once, with its entries, its receipt and its event; all is paid out."""
    bank = scene.bank
    ended = "SELECT count(*) FROM trivet.jobs WHERE task = :task AND state = 'succeeded'"
    check_money(scene, count)
    _same("succeeded jobs", bank.value(ended, task=TASK), count)
    _same("receipts", bank.run.given.documents["receipts"].count_documents({}), count)
    _same("events", len(events), count)
    _same("distinct events", len({event.id for event in events}), count)


def check_money(scene: Scene, count: int) -> None:
    """No money was made or lost by so many transfers, and each has its two entries."""
    _same("sum of entries", scene.bank.value("SELECT sum(amount) FROM ledger_entries"), 0)
    # An account is opened with two entries, too.
    _same("entries", scene.bank.value("SELECT count(*) FROM ledger_entries"), 2 * (count + ACCOUNTS))


def _same(what: str, found: object, expected: object) -> None:
    assert found == expected, f"check failed, the figures do not count: {what}: {found}, expected {expected}"


def _entries(scene: Scene, after: str) -> Any:
    return scene.bank.run.given.redis.xrange("events", min=after, count=_READ)
