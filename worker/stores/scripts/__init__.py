"""Lua scripts that Redis carries out in one step: one file each."""

from functools import cache
from importlib.resources import files


@cache
def script(name: str) -> str:
    """The source of a script."""
    return files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
