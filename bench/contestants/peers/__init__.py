"""The peers: other queues with workers, each set up for throughput as its documentation says, where that is safe.

All Python peers do the work of `bench.work`, which plain Celery does too. Each has `scene.concurrency` processes.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from bench.contestants import MakeContestant
from bench.contestants.peers.node import BullMQ
from bench.contestants.peers.peer import PythonPeer


class Rq(PythonPeer):
    """RQ: one pool of workers."""

    name: ClassVar[str] = "rq"
    receipts_collection: ClassVar[str] = "rq_receipts"
    packages = ("rq",)

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the command of a pool of workers which run each job in their own process."""
        pool = ["worker-pool", f"--num-workers={self.scene.concurrency}", "--worker-class=rq.worker.SimpleWorker"]
        return [[self.program("rq"), *pool, f"--url={self.scene.urls.redis}", "--quiet", "transfers"]]


class Dramatiq(PythonPeer):
    """Dramatiq."""

    name: ClassVar[str] = "dramatiq"
    receipts_collection: ClassVar[str] = "dramatiq_receipts"
    packages = ("dramatiq",)

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the command of a worker."""
        import os
        return [[self.program("dramatiq"), "app", f"--processes={self.scene.concurrency}", "--threads="+os.environ.get("T_THREADS","8")]]


class Huey(PythonPeer):
    """Huey."""

    name: ClassVar[str] = "huey"
    receipts_collection: ClassVar[str] = "huey_receipts"
    packages = ("huey",)

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the commands of consumers with threads."""
        import os
        if os.environ.get("T_HUEY") == "process":
            return [[self.program("huey_consumer"), "app.huey", "--workers=2", "--worker-type=process", "--no-periodic", "--quiet"]]
        one = ["app.huey", "--workers="+os.environ.get("T_THREADS", "8"), "--worker-type=thread", "--no-periodic", "--quiet"]
        return [[self.program("huey_consumer"), *one]] * self.scene.concurrency


class Arq(PythonPeer):
    """arq."""

    name: ClassVar[str] = "arq"
    receipts_collection: ClassVar[str] = "arq_receipts"
    packages = ("arq", "uvloop")

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the commands of workers."""
        return [[self.program("arq"), "app.Worker"]] * self.scene.concurrency


class Taskiq(PythonPeer):
    """taskiq."""

    name: ClassVar[str] = "taskiq"
    receipts_collection: ClassVar[str] = "taskiq_receipts"
    packages = ("taskiq", "taskiq-redis", "uvloop")

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the command of a worker."""
        import os
        options = [f"--workers={self.scene.concurrency}", "--max-async-tasks="+os.environ.get("T_JOBS","20"), "--log-level=WARNING"]
        return [[self.program("taskiq"), "worker", "app:broker", *options, *os.environ.get("T_TASKIQ","").split()]]


class Procrastinate(PythonPeer):
    """Procrastinate."""

    name: ClassVar[str] = "procrastinate"
    receipts_collection: ClassVar[str] = "procrastinate_receipts"
    packages = ("procrastinate",)

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the commands of workers."""
        import os
        one = ["--app=app.app", "worker", "--concurrency="+os.environ.get("T_JOBS","20"), *os.environ.get("T_PRO","").split()]
        return [[self.program("procrastinate"), *one]] * self.scene.concurrency


PEERS: Final[Mapping[str, MakeContestant]] = {
    peer.name: peer for peer in (Rq, Dramatiq, Huey, Arq, Taskiq, Procrastinate, BullMQ)
}
"""By the names that `trivet bench --against` takes."""
