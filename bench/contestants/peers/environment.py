"""An environment of its own for each peer, made on demand, and kept until what it is made of changes."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.contestants import CannotRun

ROOT: Final = Path(__file__).parents[3]
CACHE: Final = ROOT / ".trivet" / "bench"

_NO_NETWORK: Final = (
    *("error sending request", "dns error", "client error (connect)", "failed to lookup address"),  # uv
    *("enotfound", "eai_again", "econnrefused", "econnreset", "etimedout", "enetunreach", "ehostunreach"),  # npm
)


@dataclass(frozen=True)
class Environment:
    """A folder below the cache, made from files of the checkout, by commands."""

    name: str
    made_from: Sequence[Path]
    cache: Path = CACHE

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.cache / self.name

    def make(self, *commands: Sequence[str]) -> None:
        """Run the commands in the empty folder, beside copies of the files, unless it was made from the same.

        Raises:
            CannotRun: a command failed or is not there; what it said is in a log beside the folder.

        """
        made_from = self._identity()
        mark = self.folder / "made-from"
        if mark.exists() and mark.read_text() == made_from:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for file in self.made_from:
            shutil.copy(file, self.folder)
        with self._log.open("wb") as log:
            for command in commands:
                try:
                    subprocess.run(command, cwd=self.folder, stdout=log, stderr=log, check=True)
                except subprocess.CalledProcessError:
                    raise CannotRun(self._why()) from None
                except OSError as error:
                    raise CannotRun(f"{command[0]} cannot be started: {error.strerror}") from error
        mark.write_text(made_from)

    @property
    def _log(self) -> Path:
        return self.cache / f"{self.name}-install.log"

    def _identity(self) -> str:
        return "\n".join([sys.executable, sys.version, *(file.read_text() for file in self.made_from)])

    def _why(self) -> str:
        said = self._log.read_text(errors="replace").lower()
        if any(sign in said for sign in _NO_NETWORK):
            return "no network: its packages cannot be fetched"
        return f"its packages cannot be installed, see {self._log}"


def program(name: str) -> str:
    """Return the path of a program that the machine must have. Raises `CannotRun`."""
    found = shutil.which(name)
    if found is None:
        raise CannotRun(f"no {name} on this machine")
    return found
