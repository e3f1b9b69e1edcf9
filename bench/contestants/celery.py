"""Plain Celery with the transfer as an ordinary task: prefork, late acknowledgement, connections that stay open."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import ClassVar

from bench.contestants.envelopes import push
from bench.orders import Order
from bench.scene import Scene
from bench.workers import start_plain


class Celery:
    """Prefork, acks_late, a prefetch of 100 a process; psycopg, one transaction a job, connections stay open."""

    name: ClassVar[str] = "celery"
    receipts_collection: ClassVar[str] = "plain_receipts"
    app: ClassVar[str] = "bench.plain"
    task: ClassVar[str] = "plain.transfer"

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def install(self) -> Mapping[str, str]:
        """Nothing is to be made: Celery is what ours stands on."""
        return {}

    def enqueue(self, jobs: Sequence[Order]) -> None:
        """Push Celery messages."""
        push(self._scene.bank.run.given.redis, self.task, jobs)

    def start(self, running: ExitStack) -> None:
        """Start the worker; SIGTERM ends it when it has finished what it runs."""
        running.callback(start_plain(running, self._scene, self.app).stop)
