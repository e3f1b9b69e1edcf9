"""pgbench doing the SQL of a transfer alone, one commit a job: what the database gives to one job after another."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit
from uuid import UUID

from bench.checks import CheckFailed, check_money
from bench.contestants import CannotRun
from bench.orders import ACCOUNTS, OPENING_BALANCE
from bench.scene import Scene
from tests.fixtures.jobs import empty, message
from worker.operations.embedded.programs import WHEELS

CLIENTS = 16
PREFIX = "00000000-0000-4000-8000-"
"""Ids of accounts end in their number, so that pgbench, which knows no UUID, can name them."""

SCRIPT = Path(__file__).with_name("transfer.sql")


class Pgbench:
    """`-M prepared -c 16 -j 2`: lock both accounts, check funds, two balances, two entries, one commit a job."""

    name: ClassVar[str] = "pgbench"

    def __init__(self, scene: Scene, jobs: int) -> None:
        self._scene = scene
        self.jobs = max(1, jobs // CLIENTS) * CLIENTS

    def install(self) -> Mapping[str, str]:
        """Find it. Raises `CannotRun`."""
        shown = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=False)
        if shown.returncode:
            raise CannotRun(f"pgbench --version failed: {shown.stderr.strip()}")
        return {"pgbench": shown.stdout.split()[-1]}

    def rate(self) -> float:
        """Transfers a second, as pgbench itself tells, without the time to connect."""
        self._open_accounts()
        server = urlsplit(self._scene.urls.postgres)
        place = ["-h", str(server.hostname), "-p", str(server.port), "-U", str(server.username)]
        load = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-t", str(self.jobs // CLIENTS)]
        ran = subprocess.run(
            [_program(), *place, *load, "-D", f"accounts={ACCOUNTS}", "-f", str(SCRIPT), server.path.strip("/")],
            env=os.environ | {"PGPASSWORD": str(server.password)},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^tps = ([\d.]+)", ran.stdout, re.MULTILINE)
        if ran.returncode or found is None:
            raise CheckFailed(f"pgbench failed: {ran.stderr.strip()[-500:]}")
        check_money(self._scene.bank, self.jobs)
        return float(found.group(1))

    def _open_accounts(self) -> None:
        bank = self._scene.bank
        empty(bank.run.given)
        payload = {"owner_id": bank.user(), "currency": "EUR", "opening_balance": OPENING_BALANCE}
        ids = [UUID(f"{PREFIX}{number:012}") for number in range(ACCOUNTS)]
        for start in range(0, ACCOUNTS, 500):
            bank.run(*(message("accounts.open", payload, account) for account in ids[start : start + 500]))


def _program() -> Path:
    wheel = WHEELS["postgres"]
    site = wheel.site()
    beside = site and (site / wheel.program).with_name("pgbench")
    found = beside if beside and beside.is_file() else shutil.which("pgbench")
    if found is None:
        raise CannotRun("pgbench is neither in the wheel of PostgreSQL nor on the PATH")
    return Path(found)
