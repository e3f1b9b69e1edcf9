"""The stream of events in Redis: events are appended in order, and what Redis has lost is noticed.

Beside the stream there is a hash with the newest turn of each shard, written by the script that appends. PostgreSQL
has the same numbers. So a Redis that was emptied, or came back with older data, is told from one that lost nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final
from uuid import uuid4

import orjson
from redis import Redis
from redis.exceptions import RedisError

from worker.delivery.events import CHANNEL, STREAM, with_sequence
from worker.delivery.outbox import SHARDS
from worker.errors import StoreUnavailable

TURNS: Final = "trivet:turns"
RECOVERY: Final = "recovery"
"""The field of the hash that is there as long as lost events are appended again."""

PAGE: Final = 1_000
"""Entries that are read at a time."""

Numbered = tuple[int, str]
"""An event without its sequence, and the sequence."""


def publish(redis: Redis, events: Sequence[Numbered], *, maxlen: int, committed: Sequence[int], shard: int) -> bool:
    """Append each event to the stream and announce it on its channel, in order, all or none.

    The stream keeps about `maxlen` entries. `committed` are the turns that PostgreSQL knows, and this is the next
    one of `shard`. False, and nothing done, when Redis knows of fewer. Raises `StoreUnavailable` when Redis is away
    or refuses writes.
    """
    told = (
        part
        for sequence, event in events
        for part in (CHANNEL + orjson.loads(event)["type"], with_sequence(event, sequence))
    )
    return _run(redis, "publish", maxlen, shard, len(committed), *committed, *told)


def known_turns(redis: Redis) -> list[int]:
    """The newest turn of each shard that Redis knows. Raises `StoreUnavailable`."""
    with _trouble():
        known: Any = redis.hmget(TURNS, [str(shard) for shard in range(SHARDS)])
    return [int(turn or 0) for turn in known]


def sequences(redis: Redis) -> set[int]:
    """The sequences of all events that are in the stream. Raises `StoreUnavailable`."""
    found: set[int] = set()
    start = "-"
    while page := _page(redis, start):
        found.update(orjson.loads(fields[b"event"])["sequence"] for _, fields in page)
        start = f"({page[-1][0].decode()}"
    return found


@dataclass(frozen=True)
class Recovery:
    """Appending events again; it ends by itself when Redis loses its data meanwhile."""

    redis: Redis
    maxlen: int
    mark: str

    @classmethod
    def begin(cls, redis: Redis, maxlen: int) -> "Recovery":
        """Set the mark. Nothing is published as long as Redis is behind, so nothing comes in between."""
        mark = uuid4().hex
        with _trouble():
            redis.hset(TURNS, RECOVERY, mark)
        return cls(redis, maxlen, mark)

    def append(self, events: Sequence[Numbered]) -> bool:
        """Append some events, in order; false, and nothing done, when Redis lost its data again."""
        return self._append((), events)

    def finish(self, committed: Sequence[int]) -> bool:
        """Let Redis know all that PostgreSQL knows; false when it lost its data again."""
        return self._append(committed, ())

    def _append(self, turns: Sequence[int], events: Sequence[Numbered]) -> bool:
        told = (with_sequence(event, sequence) for sequence, event in events)
        return _run(self.redis, "append_again", self.maxlen, self.mark, len(turns), *turns, *told)


def _page(redis: Redis, start: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    with _trouble():
        page: Any = redis.xrange(STREAM, min=start, count=PAGE)
    return list(page)


def _run(redis: Redis, name: str, *arguments: str | int) -> bool:
    with _trouble():
        return bool(redis.register_script(_source(name))(keys=[STREAM, TURNS], args=arguments))


@contextmanager
def _trouble() -> Iterator[None]:
    # Whatever it is, no event of ours caused it: a stream key of another type, a right that is missing.
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"Redis: {error}") from error


@cache
def _source(name: str) -> bytes:
    return files("worker.delivery").joinpath("scripts", f"{name}.lua").read_bytes()
