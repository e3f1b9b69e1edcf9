"""The servers of one folder, as the command line and the tests use them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.operations.embedded import state
from worker.operations.embedded.errors import NotRunning
from worker.operations.embedded.place import Place
from worker.operations.embedded.server import Server
from worker.operations.embedded.stack import Options, Stack, Urls

FOLDER = Path(".trivet")


@dataclass(frozen=True)
class ServerStatus:
    """One server at one look; version, pid and port are None where they are not known."""

    server: str
    version: str | None
    pid: int | None
    port: int | None
    data: Path
    up: bool


@contextmanager
def running_servers(folder: Path = FOLDER, options: Options | None = None) -> Iterator[Urls]:
    """Use the servers of this folder: those that run already, the others bound to this process.

    What was started here stops at the end, or within a second when this process dies; what was found
    running is left running.
    """
    stack = Stack(Place.of(folder), options)
    started = stack.start()
    try:
        yield stack.urls
    finally:
        stack.stop(started)


def start(folder: Path = FOLDER, options: Options | None = None) -> Urls:
    """Start the servers of this folder to live on by themselves; those that run are left as they are."""
    stack = Stack(Place.of(folder), options, bound=False)
    stack.start()
    return stack.urls


def stop(folder: Path = FOLDER) -> None:
    """Stop the servers of this folder, whoever started them; data and ports stay for the next start."""
    stack = Stack(Place.of(folder))
    if stack.look():
        stack.stop()


def erase(folder: Path) -> None:
    """Stop the servers of this folder and remove it, data included."""
    stop(folder)
    Place.of(folder).remove()


def status(folder: Path = FOLDER) -> list[ServerStatus]:
    """Look at each server of this folder; nothing is changed."""
    stack = Stack(Place.of(folder))
    stack.look()
    known = state.read(stack.place)
    return [_status_of(server, known.get(server.name)) for server in stack.servers]


def running_urls(folder: Path = FOLDER) -> Urls:
    """Return where the running servers of this folder are, or raise `NotRunning`."""
    stack = Stack(Place.of(folder))
    stack.look()
    if down := [server.name for server in stack.servers if server.pid is None or not server.answers()]:
        raise NotRunning(f"not running: {', '.join(down)}; start the servers with: trivet dev start")
    return stack.urls


def _status_of(server: Server, known: state.Entry | None) -> ServerStatus:
    up = server.pid is not None and server.answers()
    return ServerStatus(
        server.name, known.version if known else None, server.pid, server.port or None, server.data, up
    )
