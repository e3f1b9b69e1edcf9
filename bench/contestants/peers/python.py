"""The peers in Python: each a small app, its settings for throughput, and the worker command of its project."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import ClassVar

from bench.contestants.peers.environment import ROOT, Environment
from bench.contestants.peers.peer import Peer
from bench.scene import Scene


class PythonPeer(Peer):
    """A peer in Python: `requirements.txt`, `app.py` and `enqueue.py` are in its folder."""

    packages: ClassVar[tuple[str, ...]]
    """Its own packages: their versions are told, beside those of the drivers."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._installed = Environment(self.name, [self.sources / "requirements.txt"])

    def program(self, name: str) -> str:
        """Return the path of a program of its environment."""
        return str(self._installed.folder / "venv" / "bin" / name)

    def install(self) -> Mapping[str, str]:
        """Make its environment, with the Python that runs this."""
        uv, python = str(Path(sys.executable).with_name("uv")), self.program("python")
        self._installed.make(
            [uv, "venv", "--quiet", "--python", sys.executable, "venv"],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "-r", "requirements.txt"],
        )
        folders = map(str, self._installed.folder.glob("venv/lib/python*/site-packages"))
        found = {one.name: one.version for one in distributions(path=list(folders))}
        return {name: found[name] for name in (*self.packages, "redis", "psycopg", "pymongo")}

    def enqueuing(self) -> Sequence[str]:
        """Return the command that runs `enqueue.py`."""
        return [self.program("python"), "enqueue.py"]

    def environment(self) -> Mapping[str, str]:
        """Return the variables of its processes: they find `app` in its folder, and the work in the checkout."""
        return {**super().environment(), "PYTHONPATH": f"{self.sources}{os.pathsep}{ROOT}"}


class Rq(PythonPeer):
    """RQ: a pool of `SimpleWorker`, one job at a time in each process, results not kept, only warnings logged.

    By default RQ forks a process for each job, which would open all its clients anew; for short, trusted jobs its
    documentation has `SimpleWorker`. A job whose worker dies is filed as failed later, not run again.
    """

    name: ClassVar[str] = "rq"
    receipts_collection: ClassVar[str] = "rq_receipts"
    packages = ("rq",)

    def workers(self) -> Sequence[Sequence[str]]:
        """Return one command, which starts the pool."""
        pool = [f"--num-workers={self.scene.concurrency}", "--worker-class=rq.worker.SimpleWorker", "--quiet"]
        return [[self.program("rq"), "worker-pool", *pool, f"--url={self.scene.urls.redis}", "transfers"]]


class Dramatiq(PythonPeer):
    """Dramatiq: its defaults: 8 threads a process, late acknowledgement, no line in the log for a job."""

    name: ClassVar[str] = "dramatiq"
    receipts_collection: ClassVar[str] = "dramatiq_receipts"
    packages = ("dramatiq",)

    def workers(self) -> Sequence[Sequence[str]]:
        """Return one command, which starts the processes."""
        return [[self.program("dramatiq"), "app", f"--processes={self.scene.concurrency}", "--threads=8"]]


class Huey(PythonPeer):
    """Huey: a consumer of 8 threads a process, no results, no periodic tasks; it has no acknowledgement.

    Two such consumers were twice as fast as one with two process workers.
    """

    name: ClassVar[str] = "huey"
    receipts_collection: ClassVar[str] = "huey_receipts"
    packages = ("huey",)

    def workers(self) -> Sequence[Sequence[str]]:
        """Return a command for each process."""
        options = ["--worker-type=thread", "--workers=8", "--no-periodic", "--quiet"]
        return [[self.program("huey_consumer"), "app.huey", *options]] * self.scene.concurrency


class Arq(PythonPeer):
    """arq: 20 jobs at once in each event loop (uvloop), a poll each 10 ms, no results, only warnings logged."""

    name: ClassVar[str] = "arq"
    receipts_collection: ClassVar[str] = "arq_receipts"
    packages = ("arq", "uvloop")

    def workers(self) -> Sequence[Sequence[str]]:
        """Return a command for each process."""
        return [[self.program("arq"), "app.Worker", "--custom-log-dict", "app.LOGGING"]] * self.scene.concurrency


class Taskiq(PythonPeer):
    """taskiq: a Redis stream with late acknowledgement, 20 jobs at once in each event loop (uvloop), `--no-parse`.

    Its arguments are plain strings and integers, so it need not parse them by their annotations.
    """

    name: ClassVar[str] = "taskiq"
    receipts_collection: ClassVar[str] = "taskiq_receipts"
    packages = ("taskiq", "taskiq-redis", "uvloop")

    def workers(self) -> Sequence[Sequence[str]]:
        """Return one command, which starts the processes."""
        options = [
            f"--workers={self.scene.concurrency}",
            "--max-async-tasks=20",
            "--no-parse",
            "--log-level=WARNING",
        ]
        return [[self.program("taskiq"), "worker", "app:broker", *options]]


class Procrastinate(PythonPeer):
    """Procrastinate: queue in PostgreSQL, 10 jobs at once in each event loop (uvloop), done ones deleted."""

    name: ClassVar[str] = "procrastinate"
    receipts_collection: ClassVar[str] = "procrastinate_receipts"
    packages = ("procrastinate", "uvloop")

    def workers(self) -> Sequence[Sequence[str]]:
        """Return a command for each process."""
        one = ["--app=app.app", "--log-level=warning", "worker", "--concurrency=10", "--delete-jobs=successful"]
        return [[self.program("procrastinate"), *one]] * self.scene.concurrency
