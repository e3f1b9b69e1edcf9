"""Reading the stream of events from a position on, each event once, and knowing when some may have been missed."""

from typing import Any, Final, NamedTuple

import orjson
from redis import Redis

from worker.delivery.events import STREAM
from worker.errors import Gap

BEGINNING: Final = "0"
END: Final = "$"

PAGE: Final = 1_000
"""Entries that are read at a time."""


class Entry(NamedTuple):
    """One entry of the stream; `again`: it was appended after Redis had lost it."""

    position: str
    text: str
    again: bool

    @property
    def id(self) -> str | None:
        """The event's id; None for what is no event."""
        try:
            event_id = orjson.loads(self.text)["id"]
        except (ValueError, KeyError, TypeError):
            return None
        return event_id if isinstance(event_id, str) else None


class StreamReader:
    """Goes through the stream from `position` on: an entry's position, `0` for the oldest, `$` for what is to come.

    It knows the ids of the last `window` events, those before its position too, and drops a repeat of them. Errors
    of Redis are passed on: whatever failed can be called again.
    """

    def __init__(self, redis: Redis, position: str, window: int) -> None:
        self.position = position
        self._redis = redis
        self._window = window
        self._seen: dict[str, None] = {}
        self._opened = False

    def read(self) -> list[Entry]:
        """What follows, at most a page: the caller takes one after the other. Nothing at the end. Raises `Gap`."""
        if not self._opened:
            self._open()
        return self._ranged(self.position) if self.position == BEGINNING else self._after()

    def take(self, entry: Entry) -> bool:
        """Move on to this entry; false for a repeat, or what is no event."""
        self.position = entry.position
        event_id = entry.id
        return event_id is not None and self._remember(event_id)

    def wait(self, seconds: float) -> None:
        """Until something follows, or the time is over."""
        self._redis.xread({STREAM: self.position}, count=1, block=int(seconds * 1_000))

    def _open(self) -> None:
        if self.position == END:
            self.position = next((entry.position for entry in self._newest(END, 1)), BEGINNING)
        elif self.position != BEGINNING and not self._has(self.position):
            raise Gap(self.position)
        if self.position != BEGINNING:
            self._look_back()
        self._opened = True

    def _look_back(self) -> None:
        """Learn the ids of the events up to the position: a repeat of them may still come."""
        found: list[Entry] = []
        end = self.position
        while len(found) < self._window and (page := self._newest(end, PAGE)):
            found += page
            end = f"({page[-1].position}"
        for entry in reversed(found[: self._window]):
            if entry.id is not None:
                self._remember(entry.id)

    def _after(self) -> list[Entry]:
        # The entry itself is read again: as long as it is there, nothing behind it can have been trimmed away.
        found = self._ranged(self.position, PAGE + 1)
        if found and found[0].position == self.position:
            return found[1:]
        self._begin_again_after_a_loss()
        return self._ranged(self.position)

    def _begin_again_after_a_loss(self) -> None:
        """Go back to the beginning, where that misses nothing: what Redis lost is appended again. Raises `Gap`.

        A stream is trimmed at its old end. So one that has older entries, or begins with one that was appended
        again and that we know, or is empty, has lost data.
        """
        oldest = next(iter(self._ranged(BEGINNING, 1)), None)
        if oldest is not None and not self._precedes(oldest) and not (oldest.again and oldest.id in self._seen):
            raise Gap(self.position)
        self.position = BEGINNING

    def _precedes(self, entry: Entry) -> bool:
        return _number(entry.position) < _number(self.position)

    def _remember(self, event_id: str) -> bool:
        if event_id in self._seen:
            return False
        self._seen[event_id] = None
        if len(self._seen) > self._window:
            del self._seen[next(iter(self._seen))]
        return True

    def _has(self, position: str) -> bool:
        return [entry.position for entry in self._ranged(position, 1)] == [position]

    def _ranged(self, start: str, count: int = PAGE) -> list[Entry]:
        return _entries(self._redis.xrange(STREAM, min=start, count=count))

    def _newest(self, end: str, count: int) -> list[Entry]:
        return _entries(self._redis.xrevrange(STREAM, max="+" if end == END else end, count=count))


def _entries(found: Any) -> list[Entry]:
    return [
        _entry(_text(position), {_text(name): _text(value) for name, value in fields.items()})
        for position, fields in found
    ]


def _entry(position: str, fields: dict[str, str]) -> Entry:
    return Entry(position, fields.get("event", ""), "again" in fields)


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _number(position: str) -> tuple[int, int]:
    milliseconds, _, count = position.partition("-")
    return int(milliseconds), int(count or 0)
