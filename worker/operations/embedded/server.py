"""One server: started on its own data folder, found again, stopped, killed, started again."""

import signal
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from subprocess import TimeoutExpired
from typing import ClassVar

from worker.operations.embedded import ports, processes
from worker.operations.embedded.errors import ServerFailed
from worker.operations.embedded.launch import Guard, launch, orphaned
from worker.operations.embedded.place import Place
from worker.operations.embedded.processes import Process, Steps
from worker.operations.embedded.programs import Program, find_program

START_TIMEOUT_S = 60.0
ADOPT_TIMEOUT_S = 5.0


class Server(ABC):
    """A server on `place`; `bound` to this process, unless it is to live on by itself.

    Not started yet when made. The port is chosen at the first start when none is given, and kept as long
    as nobody else takes it.
    """

    name: ClassVar[str]
    executable: ClassVar[str]
    """The name of the program, without its folder."""

    stops: ClassVar[Steps] = ((signal.SIGTERM, 10),)

    def __init__(self, place: Place, *, port: int | None = None, bound: bool = True) -> None:
        self.place = place
        self.port = port or 0
        self._bound = bound
        self._process: Process | None = None
        self._guard: Guard | None = None
        self._log_start = 0

    @property
    def data(self) -> Path:
        """The data folder; the server is known by it."""
        return self.place.home / self.name

    @property
    def log(self) -> Path:
        """The file with what the server says."""
        return self.place.home / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The pid of the server (PostgreSQL: of the postmaster); None while it does not run."""
        return self._process.pid if self._process and processes.alive(self._process) else None

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients."""

    @cached_property
    def program(self) -> Program:
        """The program, found and tried at first use."""
        return find_program(self.name, self.place)

    def start(self) -> None:
        """Start the server and wait until it can be used; it must not be running."""
        self._prepare()
        if not self.port or not ports.is_free(self.port):
            self.port = ports.choose()
        self._launch()
        self.wait_ready()

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until clients can use the server; raise `ServerFailed` when it ends, or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if self.pid is None:
                raise ServerFailed(f"{self.name} ended by itself; its log says: {self._complaint()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} is not ready after {timeout_s:.0f} s; see {self.log}")
            time.sleep(0.02)
        self._settle(deadline)

    def stop(self) -> None:
        """Stop the server as an operator would; data and port stay for the next start."""
        self._end(self.stops)

    def kill(self) -> None:
        """Kill the server (SIGKILL), and wait until nothing of it is left that hinders a restart."""
        self._end(((signal.SIGKILL, 2),))

    def look(self) -> bool:
        """Take note of the server that runs on this data, whoever started it; False when none does."""
        self._process = processes.find(self.executable, self.data)
        if self._process:
            self.port = self._port_of(self._process)
        return self._process is not None

    def adopt(self) -> bool:
        """Take over the server that runs on this data when it is in good health; end it when it is not."""
        if not self.look() or self._process is None:
            return False
        if orphaned(self._process):
            self.stop()
            return False
        try:
            self.wait_ready(ADOPT_TIMEOUT_S)
        except ServerFailed:  # frozen, or broken
            self.kill()
            return False
        return True

    def answers(self) -> bool:
        """Tell whether the port answers, and as the server of this very data folder."""
        return bool(self.port) and ports.accepts(self.port) and self._serves() == str(self.data)

    @abstractmethod
    def _prepare(self) -> None:
        """Lay out the data folder."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that starts the server on `self.port`."""

    @abstractmethod
    def _serves(self) -> str | None:
        """Ask the server for its data folder; None while it gives no answer."""

    def _settle(self, deadline: float) -> None:  # noqa: B027 - most servers have nothing left to do
        """Do what is left once the server answers."""

    def _port_of(self, process: Process) -> int:
        option = "-p" if "-p" in process.command else "--port"
        return int(process.command[process.command.index(option) + 1])

    def _launch(self) -> None:
        self._let_go()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        pid, self._guard = launch(
            self._command(),
            data=self.data,
            log=self.log,
            user=self.place.user,
            stops=self.stops,
            bound=self._bound,
        )
        self._process = processes.read(pid)

    def _end(self, steps: Steps) -> None:
        if self._process:
            processes.end(self._process, steps)
        self._let_go()

    def _let_go(self) -> None:
        if self._guard:
            with suppress(TimeoutExpired):
                self._guard.wait(10)
        self._process = self._guard = None

    def _complaint(self) -> str:
        with self.log.open(errors="replace") as log:
            log.seek(self._log_start)
            lines = log.read().strip().splitlines()
        grave = [line for line in lines if any(word in line for word in ("FATAL", '"s":"F"', '"s":"E"', "rror"))]
        return (grave or lines or ["nothing"])[-1]
