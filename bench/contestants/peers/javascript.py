"""BullMQ: a peer in Node."""

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.contestants.peers.environment import Environment, program
from bench.contestants.peers.peer import Peer
from bench.scene import Scene


class BullMQ(Peer):
    """BullMQ: 10 jobs at once in the event loop of each Node process, done ones not kept.

    The work of a transfer is written in JavaScript, with pg, mongodb and ioredis.
    """

    name: ClassVar[str] = "bullmq"
    receipts_collection: ClassVar[str] = "bullmq_receipts"

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        files = [self.sources / name for name in ("package.json", "package-lock.json")]
        self._installed = Environment(self.name, files)

    def install(self) -> Mapping[str, str]:
        """Make its environment by `npm ci`, which takes what the lock file says; Node must be on the machine."""
        program("node")
        self._installed.make([program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        packages = self._installed.folder / "node_modules"
        asked = json.loads((self.sources / "package.json").read_text())["dependencies"]
        return {name: json.loads((packages / name / "package.json").read_text())["version"] for name in asked}

    def enqueuing(self) -> Sequence[str]:
        """Return the command that runs `enqueue.js`."""
        return [program("node"), "enqueue.js"]

    def workers(self) -> Sequence[Sequence[str]]:
        """Return the commands of worker processes, of which each runs some jobs at once in its event loop."""
        return [[program("node"), "worker.js"]] * self.scene.concurrency

    def environment(self) -> Mapping[str, str]:
        """Return the variables of its processes: they find the installed packages."""
        return {**super().environment(), "NODE_PATH": str(self._installed.folder / "node_modules")}
