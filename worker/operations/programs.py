"""The programs of the stack as processes: started in a session of their own, and ended with their family."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

BOUND: Final = str(Path(__file__).with_name("bound.py"))

GRACE_S: Final = 45.0
"""How long a program may take to finish what it has in hand once it was told to end."""


def trivet(*arguments: str) -> tuple[str, ...]:
    """The command line of a subcommand of `trivet`, by the interpreter that runs this."""
    return str(Path(sys.executable).with_name("trivet")), *arguments


@dataclass(frozen=True)
class Program:
    """What to run: `environment` is added to this process' own."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, output: int | IO[bytes]) -> "Running":
        """Start it, with stdout and stderr going to `output`.

        The terminal's Ctrl-C does not reach it. It is told to end when the thread that starts it has gone.
        """
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", BOUND, str(os.getpid()), *self.command],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return Running(self, process)


@dataclass
class Running:
    """A program that has been started."""

    program: Program
    process: "subprocess.Popen[bytes]"
    asked: bool = False

    @property
    def exit_code(self) -> int | None:
        """How it ended (a negative number: by that signal), or None while it runs."""
        return self.process.poll()

    def ask_to_end(self) -> None:
        """Tell it, once, to finish what it has in hand and end: Celery takes a second time for impatience."""
        if not self.asked:
            self.asked = True
            self.process.send_signal(signal.SIGTERM)

    def end(self, grace_s: float = GRACE_S) -> bool:
        """End it, with all processes of its session; False when it had to be killed."""
        self.ask_to_end()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.sweep()
            self.process.wait()
        return True

    def sweep(self) -> None:
        """Kill what is left of its session: after an end of its own that is nothing."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
