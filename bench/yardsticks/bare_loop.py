"""The same batches in a bare loop: all that a job is, from its validation to its event, without a queue or Celery.

`BareLoop` starts this module as a program, which forks as many processes as a node's pool has. They share a node's
memory as pool processes do, so that one delivers while the others run batches.
"""

import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import structlog

import tasks.accounts  # noqa: F401 - declares its jobs
from bench.contestants.envelopes import message_of
from bench.orders import Order
from bench.scene import Scene
from worker.delivery.node import Node
from worker.delivery.turn import deliver
from worker.execution import batch
from worker.messages import Message
from worker.settings import Settings, read_settings
from worker.stores.resources import Resources

TASK = "accounts.transfer"


class BareLoop:
    """Batches of `TRIVET_BATCH_MAX`, one after the other, in as many processes as a pool has; default settings."""

    name: ClassVar[str] = "bare-loop"
    receipts_collection: ClassVar[str] = "receipts"
    task: ClassVar[str] = TASK

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._file = scene.folder / "bare-loop.jobs"

    def install(self) -> Mapping[str, str]:
        """Nothing is to be made."""
        return {}

    def enqueue(self, jobs: Sequence[Order]) -> None:
        """Write the messages to a file: what a node would have read from Redis."""
        self._file.write_bytes(pickle.dumps([message_of(order, TASK) for order in jobs]))

    def start(self, running: ExitStack) -> None:
        """Start the processes; they end when all jobs have ended and nothing is owed."""
        with (self._scene.folder / "bare-loop.log").open("wb") as log:
            loop = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._file), str(self._scene.concurrency)],
                env=os.environ | self._scene.urls.environment(),
                stdout=log,
                stderr=log,
            )
        running.callback(loop.wait)
        running.callback(loop.kill)
        running.callback(loop.wait, 60)


def run_batches(batches: Sequence[Sequence[Message]], settings: Settings, node: Node) -> None:
    """Run batch after batch and deliver, as a pool process does; then until nothing is owed."""
    with Resources.open(settings) as given:
        for messages in batches:
            done = batch.run(TASK, messages, given)
            node.mark(done.shards)
            deliver(given, node)
        while node.marked():
            deliver(given, node)


def main(path: str, processes: int) -> None:
    """Deal the batches out to the processes, and wait for these."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings, node = read_settings(None), Node()
    messages: list[Message] = pickle.loads(Path(path).read_bytes())  # noqa: S301 - we have just written it
    size = settings.batch_max
    batches = [messages[start : start + size] for start in range(0, len(messages), size)]
    fork = multiprocessing.get_context("fork")
    shares = (batches[first::processes] for first in range(processes))
    workers = [fork.Process(target=run_batches, args=(share, settings, node)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
