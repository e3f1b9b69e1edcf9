"""Waiting for the end of a job that was enqueued, with Redis alone: a producer may know no other store."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import orjson
from redis import Redis

from worker.delivery.events import STREAM, completion_channels
from worker.delivery.redis_lane import RESULT_KEY, read_meta
from worker.errors import Outcome
from worker.stores.listening import heard, listening
from worker.stores.redis_errors import redis_trouble

PAGE: Final = 1_000
"""Events that are read from the stream at a time."""


@dataclass(frozen=True)
class Ended:
    """How a job ended: `data` is its result, or `{code, message, …}`; None where an event carries none."""

    outcome: Outcome
    data: Mapping[str, Any] | None


def await_result(redis: Redis, task_id: str, until: float) -> Ended | None:
    """The result that was asked for with this message, or None when there is none until then (monotonic clock).

    Raises `StoreUnavailable` when Redis is away.
    """
    key = RESULT_KEY + task_id
    with listening(redis, [key]) as live:
        with redis_trouble():
            there: Any = redis.get(key)
        found: bytes | None = there or next(heard(live, until), None)
    return Ended(*read_meta(found)) if found else None


def await_event(redis: Redis, task: str, task_id: str, since_ms: int, until: float) -> Ended | None:
    """The end that the completion event of this message tells, or None when there is none until then.

    `since_ms` is a moment on Redis' clock before which there was none; `until` is on the monotonic clock. A message
    that repeats a job causes no event. Raises `StoreUnavailable` when Redis is away.
    """
    mark = task_id.encode()
    with listening(redis, completion_channels(task)) as live:
        for text in chain(_published(redis, since_ms), heard(live, until)):
            if mark in text and (event := orjson.loads(text))["taskid"] == task_id:
                return Ended(Outcome(event["type"].rpartition(".")[2]), event["data"])
    return None


def _published(redis: Redis, since_ms: int) -> Iterator[bytes]:
    place = str(since_ms)
    while True:
        with redis_trouble():
            page: Any = redis.xrange(STREAM, min=place, count=PAGE)
        yield from (fields[b"event"] for _, fields in page)
        if len(page) < PAGE:
            return
        place = f"({page[-1][0].decode()}"
