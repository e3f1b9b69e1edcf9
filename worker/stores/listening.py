"""Listening on channels of Redis: entered before one looks at what is there, it misses nothing that follows."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from redis import Redis
from redis.client import PubSub

from worker.errors import StoreUnavailable
from worker.stores.redis_errors import redis_trouble

CONFIRMED_WITHIN_S: Final = 5.0

CHECK_EVERY_S: Final = 5.0
"""How long a listener waits before it asks whether Redis is still there: a dead line makes no sound."""


@contextmanager
def listening(redis: Redis, channels: Sequence[str]) -> Iterator[PubSub]:
    """Hear everything that is published on these channels from now on. Raises `StoreUnavailable`."""
    with closing(redis.pubsub()) as live:  # type: ignore[no-untyped-call]  # redis-py has no type here
        with redis_trouble():
            live.subscribe(*channels)
            for _ in channels:  # only what is confirmed is heard
                if live.get_message(timeout=CONFIRMED_WITHIN_S) is None:
                    raise StoreUnavailable("Redis does not confirm a subscription")
        yield live


def heard(live: PubSub, until: float) -> Iterator[bytes]:
    """What is published, as it comes, until this moment on the monotonic clock. Raises `StoreUnavailable`."""
    with redis_trouble():
        while (left := until - time.monotonic()) > 0:
            given = live.get_message(timeout=min(left, CHECK_EVERY_S))
            if given is not None and given["type"] == "message":
                yield given["data"]
