"""PostgreSQL: a database `trivet` that belongs to the user `trivet`."""

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import ClassVar

import psycopg

from worker.operations.embedded import processes
from worker.operations.embedded.errors import ProgramNotFound, ServerFailed
from worker.operations.embedded.place import Place
from worker.operations.embedded.ports import LOCALHOST
from worker.operations.embedded.processes import Steps
from worker.operations.embedded.server import Server

LET_GO_S = 10.0


class PostgreSQL(Server):
    """PostgreSQL with everything that durability hangs on; `durable=False` saves the fsync, for tests."""

    name: ClassVar[str] = "postgres"
    executable: ClassVar[str] = "postgres"
    # Fast shutdown ends the sessions, the immediate one leaves the rest to crash recovery.
    stops: ClassVar[Steps] = ((signal.SIGINT, 10), (signal.SIGQUIT, 5))

    def __init__(self, place: Place, *, port: int | None = None, bound: bool = True, durable: bool = True) -> None:
        super().__init__(place, port=port, bound=bound)
        self.durable = durable

    @property
    def url(self) -> str:
        """The database `trivet`, with the password."""
        return self._url_of("trivet")

    @property
    def _password_file(self) -> Path:
        return self.place.home / "postgres.password"

    @property
    def _cluster(self) -> str:
        """The name in the titles of all its processes; it tells them from any other PostgreSQL's."""
        return "trivet-" + hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]

    def _url_of(self, database: str) -> str:
        password = self._password_file.read_text().strip()
        return f"postgresql://trivet:{password}@{LOCALHOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start the server; where it was killed, its last sessions may take a moment to let go."""
        deadline = time.monotonic() + LET_GO_S
        while True:
            try:
                return super().start()
            except ServerFailed as error:
                if "shared memory" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _prepare(self) -> None:
        if not self.data.exists():
            self._initdb()
        # Sessions of a killed server that are busy computing have not noticed, and hold its shared memory.
        for session in processes.titled(f"postgres: {self._cluster}: "):
            processes.end(session, ((signal.SIGQUIT, 1),))
        # Nothing runs on this data, or it would have been found. After a restart of the machine the pid in
        # a killed server's file may be somebody else's, and PostgreSQL would refuse to start.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _command(self) -> list[str]:
        settings = {
            "cluster_name": self._cluster,
            "listen_addresses": LOCALHOST,
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "on" if self.durable else "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.program.path), "-D", str(self.data), "-p", str(self.port), *options]

    def _initdb(self) -> None:
        """Make the data folder under another name, so that one that was cut short is never used."""
        unfinished = self.place.home / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self.place.data_folder(unfinished.name)
        self._choose_password()
        initdb = self.program.path.with_name("initdb")
        if not initdb.exists():
            raise ProgramNotFound(f"there is no initdb beside {self.program.path}")
        command = [str(initdb), "-D", str(unfinished), "-U", "trivet"]
        settings = ["--no-locale", "--encoding=UTF8", "--auth=scram-sha-256", f"--pwfile={self._password_file}"]
        settings += [] if self.durable else ["--no-sync"]
        ran = subprocess.run(
            command + settings,
            cwd=unfinished,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            **self.place.user,
        )
        if ran.returncode:
            raise ServerFailed(f"initdb failed: {(ran.stderr.strip() or ran.stdout.strip())[-300:]}")
        unfinished.rename(self.data)

    def _choose_password(self) -> None:
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123 - the mode holds from the first moment
            file.write(secrets.token_hex(16) + "\n")
        self.place.give(self._password_file)  # initdb reads it as the servers' user

    def _serves(self) -> str | None:
        try:
            with self._connect() as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return None
        return str(row[0]) if row else None

    def _settle(self, deadline: float) -> None:  # noqa: ARG002 - this takes no waiting
        with self._connect() as connection:
            there = connection.execute("SELECT FROM pg_database WHERE datname = 'trivet'").fetchone()
            if there is None:
                connection.execute("CREATE DATABASE trivet")

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._url_of("postgres"), autocommit=True, connect_timeout=2)
