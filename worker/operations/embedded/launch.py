"""Starts a guard, which starts a server: bound to this process, or left to live by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

from worker.operations.embedded import processes
from worker.operations.embedded.errors import ServerFailed
from worker.operations.embedded.place import User
from worker.operations.embedded.processes import Process, Steps

GUARD = str(Path(__file__).with_name("guard.py"))

Guard = subprocess.Popen[str]


def launch(
    command: list[str], *, data: Path, log: Path, user: User, stops: Steps, bound: bool
) -> tuple[int, Guard | None]:
    """Start a server and return its pid, and its guard when it is bound to this process."""
    order = {
        "command": command,
        "folder": str(data),
        "log": str(log),
        "user": user,
        "stops": stops,
        "owner": os.getpid() if bound else None,
    }
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", GUARD, json.dumps(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    answer = _answer(guard)
    if not bound or "pid" not in answer:
        guard.wait()
    if "pid" not in answer:
        raise ServerFailed(f"{command[0]} could not be started: {answer.get('error', 'no guard')}")
    return int(str(answer["pid"])), guard if bound else None


def _answer(guard: Guard) -> dict[str, object]:
    assert guard.stdout is not None  # noqa: S101 - a pipe was asked for
    with guard.stdout:
        line = guard.stdout.readline()
    answer: dict[str, object] = json.loads(line or "{}")
    return answer


def orphaned(server: Process) -> bool:
    """Tell whether a server was bound to a process that has gone, so that its end is near."""
    guard = processes.read(server.parent)
    if guard is None or GUARD not in guard.command:
        return False
    return bool(json.loads(guard.command[-1])["owner"] != guard.parent)
