"""What all peers have in common: orders go to a script of theirs, workers are the commands that users run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import ClassVar, Final

from bench.contestants import Contestant
from bench.contestants.peers.environment import ROOT, Environment
from bench.orders import Order
from bench.scene import Scene

_STOP_S: Final = 5
"""A worker has no job left when it is ended: there is little to wait for."""


class Peer(Contestant):
    """A queue whose scripts are in the folder of its name, and run in its environment."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.sources = Path(__file__).parent / self.name

    def enqueuing(self) -> Sequence[str]:
        """Return the command that reads orders, as JSON lines, and puts them into the queue."""
        raise NotImplementedError

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the commands of its worker, one for each that has to be started."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return the variables of its processes."""
        return os.environ | self.scene.urls.environment()

    def enqueue(self, jobs: Sequence[Order]) -> None:
        """Give the jobs to its script; raises `RuntimeError` with what it said."""
        lines = "".join(json.dumps(asdict(job)) + "\n" for job in jobs)
        done = subprocess.run(
            self.enqueuing(),
            cwd=self.sources,
            env=self.environment(),
            input=lines.encode(),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} could not enqueue:\n{done.stderr.decode()[-4000:]}")

    def start(self, running: ExitStack) -> None:
        """Start its worker, each command in a process group of its own; logs are in the scene's folder."""
        for number, command in enumerate(self.workers()):
            with (self.scene.folder / f"{self.name}-{number}.log").open("ab") as log:
                process = subprocess.Popen(
                    command,
                    cwd=self.sources,
                    env=self.environment(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            running.callback(_end, process)


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


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: politely, then not."""
    to_group = partial(os.killpg, process.pid)
    with suppress(ProcessLookupError):
        to_group(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        to_group(signal.SIGKILL)
    process.wait()
