"""Processes as the kernel tells of them: find ours by command line, and end them, and nothing else."""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

Steps = Sequence[tuple[signal.Signals, float]]
"""Signals to send one after the other, each with the seconds it is given to work."""


@dataclass(frozen=True)
class Process:
    """One process at one look; `born` (clock ticks since boot) tells it from a later one with its pid."""

    pid: int
    parent: int
    born: int
    command: tuple[str, ...]


def read(pid: int) -> Process | None:
    """Return the process, or None when it has gone; one that only waits to be reaped has gone."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
        command = (PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may itself hold spaces and parentheses.
    state, parent, *rest = stat.rpartition(")")[2].split()
    if state in {"Z", "X"}:
        return None
    return Process(pid, int(parent), int(rest[17]), tuple(os.fsdecode(part) for part in command.split(b"\0")[:-1]))


def everything() -> Iterator[Process]:
    """Look at every process of this machine."""
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if entry.name.isdecimal() and (process := read(int(entry.name))):
            yield process


def find(program: str, data: Path) -> Process | None:
    """Return the server of this name that was started on this data folder, by its command line."""
    ours = {
        process.pid: process
        for process in everything()
        if process.command and Path(process.command[0]).name == program and str(data) in process.command
    }
    # A child that has just been forked still looks like the server.
    return next((process for process in ours.values() if process.parent not in ours), None)


def titled(title: str) -> list[Process]:
    """Return the processes that gave themselves a title which begins so (`postgres: <cluster>: `)."""
    return [process for process in everything() if process.command and process.command[0].startswith(title)]


def children(process: Process) -> list[Process]:
    """Return the direct children."""
    return [other for other in everything() if other.parent == process.pid]


def alive(process: Process) -> bool:
    """Tell whether this very process still runs."""
    now = read(process.pid)
    return now is not None and now.born == process.born


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to this very process; nothing happens when it has gone."""
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def wait_gone(processes: Iterable[Process], timeout_s: float) -> bool:
    """Wait until none of them runs; False when one still does after `timeout_s` seconds."""
    left, deadline = list(processes), time.monotonic() + timeout_s
    while left := [process for process in left if alive(process)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def end(process: Process, steps: Steps) -> None:
    """End a process and wait for its children too, which may hold its files and shared memory."""
    family = [process, *children(process)]
    for number, grace_s in steps:
        send(process, number)
        if wait_gone(family, grace_s):
            return
    for member in family:
        send(member, signal.SIGKILL)
    wait_gone(family, 10)
