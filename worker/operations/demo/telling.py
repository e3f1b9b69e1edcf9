"""How a check tells what it found: each kind of problem in one line."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any


def told(problem: str, cases: Collection[object]) -> Iterator[str]:
    """The problem, how often it was found, and one case; nothing when there is none."""
    if cases:
        first = min(map(str, cases))
        yield f"{len(cases)} {problem} (one is {first})"


def compared(name: str, wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> Iterator[str]:
    """What of these copies is not as its row."""
    yield from told(f"documents are missing in {name}", wanted.keys() - found.keys())
    yield from told(f"documents in {name} have no row", found.keys() - wanted.keys())
    both = wanted.keys() & found.keys()
    yield from told(
        f"documents in {name} differ from their rows", {key for key in both if wanted[key] != found[key]}
    )


def milliseconds(moment: datetime | None) -> datetime | None:
    """The moment as MongoDB keeps it: no finer."""
    return moment and moment.replace(microsecond=moment.microsecond // 1000 * 1000)
