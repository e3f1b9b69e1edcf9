"""Rate limits for producers: ask before you enqueue."""

from uuid import uuid4

from redis import Redis

from worker.producer import current
from worker.stores.limits import Allowance, RateLimit, count

__all__ = ["Allowance", "check_rate_limit"]


def check_rate_limit(
    key: str, limit: int = 100, window_s: float = 900, *, event_id: str | None = None, redis: Redis | None = None
) -> Allowance:
    """Count an event for `key`, unless `limit` have been allowed in the last `window_s` seconds.

    Repeated with the same `event_id` within the window, it costs nothing. `redis` is the client to use, else
    the one with which this process enqueues.
    Raises `StoreUnavailable` when Redis is away: whether the event may happen then is the caller's to decide.
    """
    (allowance,) = count(
        redis or current().redis, RateLimit(limit, window_s, key), [(key, event_id or uuid4().hex)]
    )
    return allowance
