"""A full queue, the events that come out of it with the times that Redis gave them, and what must be true then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bench.checks import Expected, check_money, check_outcomes, check_receipts, require
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
    # Redis writes its file anew when it has grown so much, with a core of its own: that is the filling's, not the
    # worker's.
    wait_for(lambda: not _is_rewriting(scene), START_S)


def _is_rewriting(scene: Scene) -> bool:
    found: Any = scene.bank.run.given.redis.info("persistence")
    return bool(found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])


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
    """Each of so many transfers succeeded, once, with its entries, receipt and event. Raises `CheckFailed`."""
    bank = scene.bank
    check_money(bank, count)
    check_outcomes(bank, TASK, Expected(count, 0))
    check_receipts(bank, "receipts", count)
    require("events", count, len(events))
    require("distinct events", count, len({event.id for event in events}))


def _entries(scene: Scene, after: str) -> Any:
    return scene.bank.run.given.redis.xrange("events", min=after, count=_READ)
