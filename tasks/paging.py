"""Pages that fit into a result: what has no room is left for the next page."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from worker import Result

ROOM: Final = 60 * 1024
"""Bytes of JSON that the items of a page may have: a result may have 64 KiB."""

Item = TypeVar("Item", bound=Result)


def fitting(items: Iterable[Item]) -> Iterator[Item]:
    """The first of the items, as many as there is room for."""
    room = ROOM
    for item in items:
        room -= len(item.model_dump_json().encode()) + 1
        if room < 0:
            return
        yield item
