"""The two kinds of worker that `bench.kills` kills: nodes of ours, and stock Celery workers."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tests.fixtures.fleet import Fleet, Member
from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import WorkerNode, spawn_node
from worker.operations.embedded import Urls

TakenOver = Callable[[], bool]
"""Whether everything that a dead worker had in hand has been given to others."""

Kill = Callable[[], TakenOver]
"""kill -9 of one worker."""

_EVENTS_KEPT = 10_000_000
_READY_S = 120  # on a busy machine

# Without the talk among workers, which only delays the start.
_OPTIONS = ("--concurrency=1", "--queues=plain", "--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True)
class Scene:
    """Where a side runs: its servers, a folder for logs, what ends its processes, the time to recover."""

    urls: Urls
    folder: Path
    running: ExitStack
    bank: Bank
    lease_s: float


class Side(Protocol):
    """One kind of worker, and the task that makes a deposit there."""

    task: ClassVar[str]

    def start(self) -> Kill:
        """Start one more worker of one pool process, and wait until it takes messages."""

    def idle(self) -> bool:
        """Whether nothing waits, nothing is in hand and nothing is owed."""

    def waiting(self) -> int:
        """How many messages are in the queue or in hand: they may still run."""

    def endings(self) -> dict[str, int]:
        """How many jobs succeeded and how many were parked, where there is a ledger that knows."""


class Ours:
    """Trivet."""

    task: ClassVar[str] = "accounts.deposit"

    def __init__(self, scene: Scene) -> None:
        self._bank = scene.bank
        given = {"TRIVET_LEASE_S": str(scene.lease_s), "TRIVET_EVENTS_MAXLEN": str(_EVENTS_KEPT)}

        def start() -> WorkerNode:
            node = spawn_node(scene.running, scene.urls, scene.folder, concurrency=1, **given)
            node.wait_ready(_READY_S)
            return node

        self._fleet = Fleet(self._bank.run.given.redis, start)

    def start(self) -> Kill:
        """Start one more node."""
        return partial(self._kill, self._fleet.add())

    def idle(self) -> bool:
        """Whether the queue, the nodes' hands, the retries and the outbox are empty."""
        unended = "SELECT (SELECT count(*) FROM trivet.jobs WHERE ended_at IS NULL) + count(*) FROM trivet.outbox"
        redis = self._bank.run.given.redis
        return not (redis.llen("accounts") or self._fleet.in_hand() or self._bank.value(unended))

    def waiting(self) -> int:
        """What is in the queue or filed under a node."""
        return self._bank.run.given.redis.llen("accounts") + sum(self._fleet.in_hand().values())

    def endings(self) -> dict[str, int]:
        """How many ended well, how many were parked."""
        count = "SELECT count(*) FROM trivet.jobs WHERE task = 'accounts.deposit' AND state = :state"
        return {state: self._bank.value(count, state=state) for state in ("succeeded", "parked")}

    def _kill(self, member: Member) -> TakenOver:
        member.node.kill()
        return lambda: not self._fleet.redis.exists(member.held)


class Stock:
    """Celery with kombu's own Redis transport."""

    task: ClassVar[str] = "plain.deposit"

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._redis = scene.bank.run.given.redis
        self._started = 0
        self._seen: set[tuple[bytes, float]] = set()

    def start(self) -> Kill:
        """Start one more worker."""
        self._started += 1
        log = self._scene.folder / f"stock-{self._started}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "bench.stock", "worker", *_OPTIONS, "-n", f"{log.stem}@%h"],
                env=os.environ | self._scene.urls.environment() | {"BENCH_VISIBILITY_S": str(self._scene.lease_s)},
                stdout=output,
                stderr=output,
            )
        self._scene.running.callback(process.wait)
        self._scene.running.callback(process.kill)
        worker = WorkerNode(process, log)
        worker.wait_ready(_READY_S)
        return partial(self._kill, worker)

    def idle(self) -> bool:
        """Whether the queue and the workers' hands are empty."""
        return not self.waiting()

    def waiting(self) -> int:
        """What is in the queue or filed as not acknowledged."""
        return self._redis.llen("plain") + self._redis.hlen("unacked")

    def endings(self) -> dict[str, int]:
        """Nobody keeps a record."""
        return {}

    def _kill(self, worker: WorkerNode) -> TakenOver:
        # Nothing says who has what in hand. What the living one has it acknowledges within milliseconds.
        worker.kill()
        left = self._in_hand() - self._seen
        self._seen |= left
        return lambda: not left & self._in_hand()

    def _in_hand(self) -> set[tuple[bytes, float]]:
        """Tag and time of each: a message that is taken again keeps its tag, and has another time."""
        found: Any = self._redis.zrange("unacked_index", 0, -1, withscores=True)
        return {(tag, taken_at) for tag, taken_at in found}
