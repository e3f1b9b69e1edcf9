"""Rate limits in Redis: at most so many events in any window, counted exactly, on Redis' clock.

A sliding log: one sorted set for each key, of the ids of the events that were allowed, by their times. So it holds
`limit` entries at most, and it expires with its newest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from redis import Redis

from worker.stores.redis_errors import redis_trouble
from worker.stores.scripts import script

CHUNK: Final = 500
"""How many events one script counts: a script holds up everybody else."""

Event = tuple[str, str]
"""The key that it counts for, and its id."""


class Allowance(NamedTuple):
    """Whether one event may happen, how many more may, and in how many seconds a refused one may be tried again."""

    allowed: bool
    remaining: int
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` events in any `window_s` seconds, for each key.

    `@job(limit=RateLimit(100, 900, key="notifications/{user_id}"))`: there the key is a template over the fields of
    the command and `job_id`. Limits with the same key and window share what they have counted.
    """

    limit: int
    window_s: float
    key: str

    def __post_init__(self) -> None:
        if self.limit < 1 or self.window_s < 0.001:
            raise ValueError(f"a rate limit allows at least 1 event in at least a millisecond, unlike {self}")

    def log(self, key: str) -> str:
        """Where the events of a key are counted."""
        return f"trivet:limit:{self.window_s:g}:{key}"


def count(redis: Redis, limit: RateLimit, events: Sequence[Event]) -> list[Allowance]:
    """Count events, in order and in one round trip.

    One whose id is in the window already is allowed and costs nothing.
    Raises `StoreUnavailable` when Redis is away: then any part may have been counted, and counting it again is
    harmless.
    """
    with redis_trouble(), redis.pipeline(transaction=False) as pipe:
        for start in range(0, len(events), CHUNK):
            part = events[start : start + CHUNK]
            keys, ids = [limit.log(key) for key, _ in part], [event_id for _, event_id in part]
            pipe.eval(script("count"), len(keys), *keys, limit.limit, round(limit.window_s * 1e6), *ids)
        counted = chain.from_iterable(pipe.execute())
    return [Allowance(bool(allowed), remaining, after_us / 1e6) for allowed, remaining, after_us in counted]


def give_back(redis: Redis, limit: RateLimit, events: Sequence[Event]) -> None:
    """Count these events no more: they did not happen. Raises `StoreUnavailable` when Redis is away."""
    with redis_trouble(), redis.pipeline(transaction=False) as pipe:
        for key, event_id in events:
            pipe.zrem(limit.log(key), event_id)
        pipe.execute()
