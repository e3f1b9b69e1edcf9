"""One mode by itself: `python -m bench.modes.NAME [--jobs N --rounds N]` prints one JSON object."""

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from bench.scene import open_scene

Measure = Callable[..., dict[str, Any]]
"""Takes the scene, and options by keyword that have defaults."""


def main(measure: Measure, jobs: int, rounds: int = 3) -> None:
    """Measure on servers of its own and print; what `measure` takes by keyword becomes an option."""
    parser = argparse.ArgumentParser(description=sys.modules[measure.__module__].__doc__)
    parser.add_argument("--jobs", type=int, default=jobs, help=f"how many, {jobs} by default")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often, {rounds} by default")
    options = [
        name for name, given in inspect.signature(measure).parameters.items() if given.kind is given.KEYWORD_ONLY
    ]
    for name in options:
        _offer(parser, name, inspect.signature(measure).parameters[name].default)
    asked = parser.parse_args()
    with open_scene(asked.jobs, asked.rounds, _tell) as scene:
        found = measure(scene, **{name: getattr(asked, name) for name in options})
    print(json.dumps(found))


def _offer(parser: argparse.ArgumentParser, name: str, default: object) -> None:
    option = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default)
    else:
        parser.add_argument(option, type=type(default), default=default, help=f"{default} by default")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
