"""Where the servers of one folder live, and as which user they run.

PostgreSQL refuses to run as root, and an unprivileged user may not be able to reach the folder at all
(think of a clone below /root). So when we are root, everything that the servers touch lies in a folder
of its own below /var/tmp, and a symbolic link in the given folder leads there. It belongs to root and
can only be passed through; each data folder in it belongs to the servers' user, and no one else gets in.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from worker.operations.embedded.errors import EmbeddedError, UnsupportedPlatform


class User(TypedDict, total=False):
    """The keywords of `subprocess.Popen` that change the user; empty when there is nothing to change."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Place:
    """`folder` is ours (state, lock); `home` holds data, logs, and programs copied for the servers' user."""

    folder: Path
    home: Path
    user: User

    @classmethod
    def of(cls, folder: Path) -> "Place":
        """Return the place that belongs to this folder; nothing is created."""
        folder = folder.resolve()
        if os.geteuid() != 0:
            return cls(folder, folder, {})
        temporary = Path("/var/tmp")  # noqa: S108 - owner and mode are checked before it is used
        base = temporary if temporary.is_dir() else Path(tempfile.gettempdir())
        mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        return cls(folder, base.resolve() / f"trivet-{mark}", _unprivileged())

    @property
    def link(self) -> Path:
        """The symbolic link that leads from the folder to its home elsewhere."""
        return self.folder / "elsewhere"

    @property
    def abandoned(self) -> bool:
        """Whether home is what a removed folder left behind; its data must not come back to life."""
        return self.home != self.folder and self.home.exists() and not self.link.is_symlink()

    def prepare(self) -> None:
        """Create the folders."""
        if self.home == self.folder:
            return
        self.home.mkdir(mode=0o711, exist_ok=True)
        status = self.home.lstat()
        if self.home.is_symlink() or status.st_uid != 0 or status.st_mode & 0o022:
            raise EmbeddedError(f"{self.home} is not root's alone; look at what it is, and remove it")
        self.home.chmod(0o711)
        if not self.link.is_symlink():
            self.link.symlink_to(self.home)

    def data_folder(self, name: str) -> Path:
        """Create a folder below home that only the servers' user can enter."""
        path = self.home / name
        path.mkdir(mode=0o700, exist_ok=True)
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """Make the servers' user the owner."""
        try:
            if self.user:
                os.chown(path, self.user["user"], self.user["group"])
        except OSError as error:
            raise UnsupportedPlatform(f"root cannot give {path} to another user ({error.strerror})") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other start and stop of this folder waiting; the kernel frees it if we die."""
        if sys.platform != "linux":
            raise UnsupportedPlatform(f"this is {sys.platform}, they need Linux")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except PermissionError as error:
            raise EmbeddedError(f"{self.folder} belongs to another user; remove it as that user") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def remove(self) -> None:
        """Remove everything, data included; the servers must have ended."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _unprivileged() -> User:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise UnsupportedPlatform("there is no user `nobody` to run them, and root must not") from error
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
