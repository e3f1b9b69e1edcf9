"""Keeps programs running in the foreground: their lines under their names, and what dies is started again."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import PIPE
from threading import Thread
from typing import Final, Protocol

from worker.operations.programs import GRACE_S, Program, Running

FIRST_PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 30.0
LOOK_EVERY_S: Final = 0.1
STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str, str], None]
"""Shows a line: by whom, and what. It never raises: a program must not stop because nobody looks any more."""


@dataclass
class Stopping:
    """How often a signal has asked for the end: the second time, nothing is waited for."""

    asked: int = 0

    def __bool__(self) -> bool:
        return self.asked > 0


@contextmanager
def stop_signals() -> Iterator[Stopping]:
    """Count Ctrl-C, SIGTERM and the end of the terminal instead of dying of them."""
    stopping = Stopping()

    def count(*_: object) -> None:
        stopping.asked += 1

    before = {number: signal.signal(number, count) for number in STOPS}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Pauses:
    """The pauses before new starts: 1 s, doubled up to 30 s, and from the beginning after a life of 30 s."""

    next_s: float = FIRST_PAUSE_S

    def after(self, lived_s: float) -> float:
        """The pause in seconds after a life of so many seconds."""
        pause_s = FIRST_PAUSE_S if lived_s >= PAUSE_MAX_S else self.next_s
        self.next_s = min(pause_s * 2, PAUSE_MAX_S)
        return pause_s


class Kept(Protocol):
    """What is kept running."""

    def tend(self, now: float) -> None:
        """Start it, or start it again, when it is time to; `now` is monotonic."""


@dataclass
class KeptProgram:
    """A program that is started again when it ends, whatever its exit code."""

    program: Program
    say: Say
    pauses: Pauses = field(default_factory=Pauses)
    running: Running | None = None
    _relay: Thread | None = None
    _started_at: float = 0.0
    _due_at: float = 0.0

    def tend(self, now: float) -> None:
        """Start it when it is due; when it has ended, plan its next start."""
        if self.running is None:
            if now >= self._due_at:
                self.start(now)
        elif (code := self.running.exit_code) is not None:
            self.end(0)
            pause_s = self.pauses.after(now - self._started_at)
            self._due_at = now + pause_s
            self.say(self.program.name, f"ended ({code}); starts again in {pause_s:.0f} s")

    def start(self, now: float) -> Running:
        """Start it now, and show its lines."""
        self.running, self._started_at = self.program.start(PIPE), now
        self._relay = Thread(target=self._show_lines, args=(self.running,), daemon=True)
        self._relay.start()
        return self.running

    def end(self, grace_s: float) -> None:
        """End it and show its last lines; it is killed after `grace_s` seconds."""
        if self.running and self._relay:
            self.running.end(grace_s)
            self._relay.join(1)
            self.running = None

    def _show_lines(self, running: Running) -> None:
        assert running.process.stdout is not None  # noqa: S101 - a pipe was asked for
        with running.process.stdout as lines:
            for line in lines:
                self.say(self.program.name, line.decode(errors="replace").rstrip())


def keep(everything: Sequence[Kept], stopping: Stopping) -> None:
    """Keep all of these running until a signal asks for the end."""
    while not stopping:
        for kept in everything:
            kept.tend(time.monotonic())
        time.sleep(LOOK_EVERY_S)


def run_once(once: KeptProgram, stopping: Stopping) -> int | None:
    """Run a program to its end; returns its exit code, or None when a signal cut it short."""
    running = once.start(time.monotonic())
    while (code := running.exit_code) is None and not stopping:
        time.sleep(LOOK_EVERY_S)
    once.end(GRACE_S)
    return code


def end_all(programs: Sequence[KeptProgram], stopping: Stopping) -> None:
    """Tell all to end, give them time together, and kill the rest; a second signal takes the time away."""
    deadline = time.monotonic() + GRACE_S
    for kept in programs:
        if kept.running:
            kept.running.ask_to_end()
    while any(kept.running and kept.running.exit_code is None for kept in programs):
        if time.monotonic() > deadline or stopping.asked > 1:
            break
        time.sleep(LOOK_EVERY_S)
    for kept in programs:
        kept.end(0)
