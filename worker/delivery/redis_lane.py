"""The Redis lane: cache drops, kept values, results, live messages and enqueues, which wait for no document."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from worker.delivery.due import Due
from worker.errors import Outcome
from worker.messages import encodable
from worker.stores.cache import kept_under
from worker.stores.redis_errors import is_trouble, redis_trouble
from worker.stores.scripts import script

RESULT_KEY: Final = "celery-task-meta-"
RESULT_TTL_S: Final = 24 * 3600
RESULT_MAX: Final = 64 * 1024

VERSION_KEY: Final = "trivet:kept:"
"""Before the key of a value that is kept: its version, which keeps older ones out."""


def result_meta(task_id: str, outcome: Outcome, data: Mapping[str, Any]) -> tuple[str, str]:
    """A result as Celery's backends keep it, so that any client's `AsyncResult.get()` reads it.

    A rejection becomes an exception `Rejected(code, message)` in the client, a parked job `Parked(message)`.
    """
    meta: dict[str, Any] = {
        "task_id": encodable(task_id),
        "status": "SUCCESS" if outcome is Outcome.SUCCEEDED else "FAILURE",
        "result": data if outcome is Outcome.SUCCEEDED else _exception(outcome, data),
        "traceback": None,
        "children": [],
        "date_done": datetime.now(UTC).isoformat(),
    }
    if outcome is not Outcome.SUCCEEDED:
        meta["data"] = data  # in full; Celery does not look at it
    return meta["task_id"], orjson.dumps(meta).decode()


def read_meta(meta: bytes) -> tuple[Outcome, dict[str, Any]]:
    """What `result_meta` has written: how the job ended, and its data."""
    kept = orjson.loads(meta)
    if kept["status"] == "SUCCESS":
        return Outcome.SUCCEEDED, kept["result"]
    return Outcome(kept["result"]["exc_type"].lower()), kept["data"]


def deliver(redis: Redis, rows: Sequence[Due], queue_prefix: str = "") -> dict[int, str]:
    """Carry out what these rows ask for, in one round trip. Returns the rows that failed by themselves, and why.

    `queue_prefix` stands before the name of each queue.

    Raises `StoreUnavailable` when Redis is away or refuses writes: then any part may be done, and doing it
    again is harmless.
    """
    with redis_trouble(), redis.pipeline(transaction=False) as pipe:
        owners = [row.id for row in rows for _ in _queue(pipe, row, queue_prefix)]
        replies = pipe.execute(raise_on_error=False)
        errors = {
            owner: reply for owner, reply in zip(owners, replies, strict=True) if isinstance(reply, RedisError)
        }
        for error in errors.values():
            if is_trouble(error):
                raise error
    return {owner: str(error) for owner, error in errors.items()}


def _queue(pipe: Pipeline, row: Due, prefix: str) -> Iterator[object]:
    # Yields once for each command that it has queued.
    effects = orjson.loads(row.effects or "{}")
    for key in effects.get("forget", ()):
        yield pipe.delete(*kept_under(key))
    for key, value, until_ms in effects.get("keep", ()):
        yield pipe.eval(script("keep_newest"), 2, key, f"{VERSION_KEY}{key}", row.id, until_ms, value or "")
    for task_id, meta in effects.get("results", ()):
        yield pipe.set(RESULT_KEY + task_id, meta, ex=RESULT_TTL_S)
        yield pipe.publish(RESULT_KEY + task_id, meta)
    for channel, message in effects.get("publish", ()):
        yield pipe.publish(channel, message)
    for queue, envelope in effects.get("enqueue", ()):
        yield pipe.lpush(prefix + queue, envelope)


def _exception(outcome: Outcome, data: Mapping[str, Any]) -> dict[str, Any]:
    # The module must be one that no client has: then Celery makes a class of this name on the spot.
    if outcome is Outcome.REJECTED:
        return {
            "exc_type": "Rejected",
            "exc_module": "trivet",
            "exc_message": [data["code"], data["message"]],
        }
    return {"exc_type": "Parked", "exc_module": "trivet", "exc_message": [data.get("message", "")]}
