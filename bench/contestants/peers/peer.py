"""What all peers have in common: orders go to a script of theirs, workers are the commands that users run."""

import json
import os
import signal
import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from bench.contestants import CannotRun, Contestant
from bench.orders import Order
from bench.scene import Scene

_STOP_S: Final = 5
"""A worker has no job left when it is ended: there is little to wait for."""


class Peer(Contestant):
    """A queue whose scripts are in the folder of its name, and run in its environment."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.sources = Path(__file__).parent / self.name

    @abstractmethod
    def enqueuing(self) -> Sequence[str]:
        """Return the command that reads orders, as JSON lines, and puts them into the queue."""

    @abstractmethod
    def workers(self) -> Sequence[Sequence[str]]:
        """Return the commands of its worker, one for each that has to be started."""

    def environment(self) -> Mapping[str, str]:
        """Return the variables of its processes."""
        return os.environ | self.scene.urls.environment()

    def enqueue(self, jobs: Sequence[Order]) -> None:
        """Give the jobs to its script; raises `CannotRun` with the end of what it said."""
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
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise CannotRun(f"its client could not enqueue: {' '.join(said)}")

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


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: politely, then not."""
    to_group = partial(os.killpg, process.pid)
    with suppress(ProcessLookupError):
        to_group(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        to_group(signal.SIGKILL)
    process.wait()
