"""Trivet itself: one node; transfers by the set-based body, or by the single body through the ORM."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import ClassVar

from bench.contestants.envelopes import push
from bench.orders import Order
from bench.scene import Scene
from bench.workers import start_node


class Trivet:
    """One node with the default settings; the set-based body."""

    name: ClassVar[str] = "trivet"
    receipts_collection: ClassVar[str] = "receipts"
    task: ClassVar[str] = "accounts.transfer"

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def install(self) -> Mapping[str, str]:
        """Nothing is to be made: it is what runs the benchmark, whose versions are told anyhow."""
        return {}

    def enqueue(self, jobs: Sequence[Order]) -> None:
        """Push Celery messages."""
        push(self._scene.bank.run.given.redis, self.task, jobs)

    def start(self, running: ExitStack) -> None:
        """Start a node; it is ended as a supervisor would, so that it gives back what it has."""
        running.callback(start_node(running, self._scene).stop)


class TrivetSingly(Trivet):
    """One node with the default settings; the single body through the ORM, job by job."""

    name: ClassVar[str] = "single-body"
    task: ClassVar[str] = "accounts.transfer_singly"
