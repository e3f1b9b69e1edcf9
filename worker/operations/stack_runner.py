"""The whole stack in the foreground: the embedded servers, a migrated database, and every process of Trivet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from worker.errors import TrivetError
from worker.operations.embedded import EmbeddedError, Place, Server, Stack, Urls, ports
from worker.operations.programs import Program, trivet
from worker.operations.supervising import (
    KeptProgram,
    Pauses,
    Say,
    Stopping,
    end_all,
    keep,
    run_once,
    stop_signals,
)
from worker.secret_files import set_for_all

FLOWER_PORT: Final = 5555
LOCALHOST: Final = "127.0.0.1"

Tell = Callable[[Urls, str], None]
"""Says where the servers and Flower are."""


class MigrationFailed(TrivetError):
    """The database could not be migrated; the lines above say why."""


def stack_programs(flower_port: int) -> tuple[Program, ...]:
    """Every process of the stack."""
    return (
        Program("worker", trivet("worker")),
        Program("beat", trivet("beat")),
        Program("flower", trivet("flower", f"--address={LOCALHOST}", f"--port={flower_port}")),
    )


@dataclass
class KeptServers:
    """The servers of a folder: those that did not run are ours, and are started again when they die."""

    stack: Stack
    say: Say
    ours: list[Server] = field(default_factory=list)
    pauses: Pauses = field(default_factory=Pauses)
    _due_at: float = 0.0

    def tend(self, now: float) -> None:
        """Start again what has died of ours; a server that was found running belongs to whoever started it."""
        dead = [server.name for server in self.ours if server.pid is None]
        if not dead or now < self._due_at:
            return
        self._due_at = now + self.pauses.after(0)
        self.say("servers", f"{', '.join(dead)} ended; starting again")
        try:
            self.stack.start()
        except EmbeddedError as error:
            self.say("servers", str(error))


def run_stack(folder: Path, say: Say, tell: Tell) -> None:
    """Run everything until a signal asks for the end, and stop it in reverse; servers that ran before stay up.

    `tell` is called with the URLs, passwords included, once the database is migrated.
    """
    with stop_signals() as stopping, _servers(folder, say) as servers:
        set_for_all(servers.stack.urls.environment())
        _migrate(say, stopping)
        flower_port = FLOWER_PORT if ports.is_free(FLOWER_PORT) else ports.choose()
        tell(servers.stack.urls, f"http://{LOCALHOST}:{flower_port}")
        programs = [KeptProgram(program, say) for program in stack_programs(flower_port)]
        try:
            keep([servers, *programs], stopping)
        finally:
            end_all(programs, stopping)


@contextmanager
def _servers(folder: Path, say: Say) -> Iterator[KeptServers]:
    stack = Stack(Place.of(folder))
    servers = KeptServers(stack, say, stack.start())
    try:
        yield servers
    finally:
        say("servers", "stopping" if servers.ours else "left running, as they were found")
        stack.stop(servers.ours)


def _migrate(say: Say, stopping: Stopping) -> None:
    program = Program("migrate", trivet("migrate"), {"TRIVET_LOG_LEVEL": "warning"})  # it says itself what it did
    if run_once(KeptProgram(program, say), stopping):
        raise MigrationFailed("the migration failed; the lines above say why")
