"""Cache-aside with a lease: a slow reader cannot put back what a writer has just dropped, a stampede loads once.

Source: Rajesh Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013, section 3.2.1 (leases).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import uuid4

import orjson
from redis import Redis

from worker.errors import StoreUnavailable
from worker.stores.redis_errors import redis_trouble
from worker.stores.scripts import script

LEASE_S: Final = 3.0
"""How long a reader may take to load a value; then another may, so that one that died blocks nobody."""

AWAY_S: Final = 2.0
"""How long Redis is left alone when it did not answer: meanwhile readers load by themselves at once."""

POLL_S: Final = (0.01, 0.1)
"""How long a reader waits between two looks at a value that another is loading: at first, and at most."""

COUNTERS: Final = "trivet:cache"


@dataclass(frozen=True, slots=True)
class Hit:
    """The value, as JSON."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """There is no value, and this reader is the one who loads it."""

    token: str


@dataclass(frozen=True, slots=True)
class Busy:
    """There is no value, and another reader is loading it."""


class Counts(NamedTuple):
    """How many reads found a value, and how many did not; a read without Redis is in neither."""

    hits: int
    misses: int


def kept_under(key: str) -> tuple[str, str]:
    """The value and its lease: whoever drops a key deletes both in one step."""
    return key, f"trivet:cache:lease:{key}"


class Cache:
    """Values by key, as JSON. `get` is all that most readers need; the steps that it takes are here one by one.

    `ttl_s` is how long a value lives. `wait_s` is how long a reader waits for a value that another is loading.
    Each step raises `StoreUnavailable` when Redis is away; `get` does not.
    """

    def __init__(self, redis: Redis, ttl_s: float, *, wait_s: float = 1.5, lease_s: float = LEASE_S) -> None:
        self._redis = redis
        self._ttl_ms = round(ttl_s * 1000)
        self._lease_ms = round(lease_s * 1000)
        self._wait_s = wait_s
        self._away_until = 0.0
        self._look_up = redis.register_script(script("look_up"))
        self._keep = redis.register_script(script("keep"))

    def get(self, key: str, load: Callable[[], Any]) -> Any:
        """The cached value, or what `load` returns: anything that is JSON; nothing is kept of None.

        `load` must see what has been committed when it is called, and nothing else. It is called without the lease
        when another reader takes too long, and when Redis is away: then its value is not kept.
        """
        match self._find(key):
            case Hit(value):
                return orjson.loads(value)
            case Lease(token):
                return self._load_under(key, token, load)
            case _:
                return orjson.loads(orjson.dumps(load()))

    def lookup(self, key: str, *, again: bool = False) -> Hit | Lease | Busy:
        """Look once; a miss hands the lease to exactly one reader. `again`: this read has been counted."""
        token = uuid4().hex
        with redis_trouble():
            found = self._look_up(keys=[*kept_under(key), COUNTERS], args=[token, self._lease_ms, int(not again)])
        if isinstance(found, bytes):
            return Hit(found)
        return Lease(token) if found else Busy()

    def store(self, key: str, token: str, value: bytes) -> bool:
        """Keep a value and end the lease under which it was loaded; an empty value only ends the lease.

        False, and nothing is kept, when the lease does not stand any more: it ran out, or the key was dropped.
        """
        with redis_trouble():
            return bool(self._keep(keys=kept_under(key), args=[token, value, self._ttl_ms]))

    def forget(self, key: str) -> None:
        """Drop the value, and the lease of whoever is loading it."""
        with redis_trouble():
            self._redis.delete(*kept_under(key))

    def counts(self) -> Counts:
        """Hits and misses of all readers since Redis was empty."""
        with redis_trouble():
            hits, misses = self._redis.hmget(COUNTERS, ["hits", "misses"])
        return Counts(int(hits or 0), int(misses or 0))

    def _find(self, key: str) -> Hit | Lease | Busy | None:
        """Look, and while another reader is loading, look again; None while Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            return self._wait_for(key)
        except StoreUnavailable:
            self._away_until = time.monotonic() + AWAY_S
            return None

    def _wait_for(self, key: str) -> Hit | Lease | Busy:
        until = time.monotonic() + self._wait_s
        pause_s, longest_s = POLL_S
        found = self.lookup(key)
        while isinstance(found, Busy) and time.monotonic() < until:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
            found = self.lookup(key, again=True)
        return found

    def _load_under(self, key: str, token: str, load: Callable[[], Any]) -> Any:
        kept = b""
        try:
            value = load()
            kept = b"" if value is None else orjson.dumps(value)
        finally:
            # Also when it failed: the next reader need not wait until the lease runs out.
            self._try_to_store(key, token, kept)
        return orjson.loads(kept) if kept else None

    def _try_to_store(self, key: str, token: str, value: bytes) -> None:
        try:
            self.store(key, token, value)
        except StoreUnavailable:
            self._away_until = time.monotonic() + AWAY_S
