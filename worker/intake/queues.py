"""The queues from outside, for an operator: how long they are, who holds what, pausing and resuming.

Whoever looks on is no node: this uses an ordinary client, and takes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from worker.errors import TrivetError
from worker.intake.keys import PRIORITIES, Keys


class KeyTaken(TrivetError):
    """A key that is ours by name is not ours by type."""


@dataclass(frozen=True)
class NodeView:
    """A node: how many messages it holds, how many of them run, and for how long its lease lasts (0: dead)."""

    held: int
    running: int
    lease_ms: int


@dataclass(frozen=True)
class Overview:
    """How many messages lie in each queue by priority, what is in flight by node, and the marks."""

    depths: Mapping[str, Mapping[int, int]]
    nodes: Mapping[str, NodeView]
    paused: frozenset[str]
    suspects: int


class Queues:
    """The queues below one key prefix."""

    def __init__(self, client: Redis, prefix: str = "") -> None:
        self._redis = client
        self._keys = Keys(prefix)

    def pause(self, queue: str) -> None:
        """Let no node take anything more from the queue; producers go on."""
        self._redis.sadd(self._keys.paused, queue)

    def resume(self, queue: str) -> None:
        """Let the nodes take from it again."""
        self._redis.srem(self._keys.paused, queue)

    def paused(self) -> frozenset[str]:
        """The queues that are paused."""
        return frozenset(_texts(self._redis.smembers(self._keys.paused)))

    def overview(self, queues: Sequence[str]) -> Overview:
        """How things stand with these queues and with all nodes."""
        return Overview(
            depths=self.depths(queues),
            nodes=self._nodes(),
            paused=self.paused(),
            suspects=self._many(("hlen", self._keys.suspects))[0],
        )

    def depths(self, queues: Sequence[str]) -> dict[str, dict[int, int]]:
        """How many messages wait in each of these queues, by priority."""
        lengths = iter(self._many(*(("llen", key) for key in self._keys.queues(queues))))
        steps = {step: {queue: next(lengths) for queue in queues} for step in PRIORITIES}
        return {queue: {step: steps[step][queue] for step in PRIORITIES} for queue in queues}

    def _nodes(self) -> dict[str, NodeView]:
        nodes = sorted(_texts(self._redis.smembers(self._keys.nodes)))
        held = self._many(*(("hlen", self._keys.held(node)) for node in nodes))
        running = self._many(*(("hlen", self._keys.running(node)) for node in nodes))
        leases = self._many(*(("pttl", self._keys.lease(node)) for node in nodes))
        views = zip(nodes, held, running, leases, strict=True)
        return {node: NodeView(holds, runs, max(lease, 0)) for node, holds, runs, lease in views}

    def _many(self, *commands: tuple[str, str]) -> list[int]:
        pipeline = self._redis.pipeline(transaction=False)
        for command, key in commands:
            getattr(pipeline, command)(key)
        answers = pipeline.execute(raise_on_error=False)
        for (_, key), answer in zip(commands, answers, strict=True):
            if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
                raise KeyTaken(
                    f"the key {key!r} in Redis has another type: somebody else uses it, and must take another name"
                )
            if isinstance(answer, Exception):
                raise answer
        return answers


def _texts(members: Any) -> list[str]:
    return [each.decode() for each in members]
