"""Secrets that come in files, as containers are given them: `NAME_FILE` holds the path of what `NAME` would be."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from worker.errors import WrongSettings

SUFFIX: Final = "_FILE"
"""Behind the name of a variable that holds a secret."""


def read_secret_files(variables: Iterable[str]) -> dict[str, str]:
    """The secrets of those variables for which the environment names a file, without the line break at its end.

    Raises `WrongSettings`, which names each variable and file that is wrong, and never shows what a file holds.
    """
    found, problems = {}, []
    for variable in variables:
        if path := os.environ.get(variable + SUFFIX):
            try:
                found[variable] = _read(variable, path)
            except WrongSettings as problem:
                problems.append(str(problem))
    if problems:
        raise WrongSettings("; ".join(problems))
    return found


def set_for_all(values: Mapping[str, str]) -> None:
    """Set variables for this process and those that it starts, whatever files are named for them."""
    os.environ.update(values)
    for name in values:
        os.environ.pop(name + SUFFIX, None)


def _read(variable: str, path: str) -> str:
    name = variable + SUFFIX
    if os.environ.get(variable):
        raise WrongSettings(f"{variable} and {name} are both set: unset one of them")
    try:
        secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise WrongSettings(f"{name} is wrong: {path} cannot be read ({error.strerror})") from None
    except ValueError:  # its text would quote what it could not decode
        raise WrongSettings(f"{name} is wrong: {path} is no text in UTF-8") from None
    if not secret or "\n" in secret or "\0" in secret:
        raise WrongSettings(f"{name} is wrong: {path} must hold one line, the value of {variable}")
    return secret
