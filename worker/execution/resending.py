"""Jobs that are due go to their queue again: retries, and whatever was sent and has not been heard of since."""

import json
from typing import Any, Final

from redis import Redis
from sqlalchemy import Connection

from worker.envelopes import envelope, queue_of
from worker.messages import Message
from worker.stores.redis_errors import redis_trouble

SEND_MAX: Final = 500
"""Jobs that go out at a time."""

SEND_AGAIN_S: Final = 600
"""Seconds after which a job that was sent and has not been tried since is sent once more; the claim makes that
harmless."""


def send_due(connection: Connection, redis: Redis) -> int:
    """Send the jobs that are due, and say how many.

    They are sent before the commit: a crash in between sends them twice, never not at all. Raises
    `StoreUnavailable` when Redis is away.
    """
    due = connection.exec_driver_sql(
        """
        UPDATE trivet.jobs SET due_at = clock_timestamp() + make_interval(secs => %s)
        WHERE id IN (SELECT id FROM trivet.jobs WHERE due_at <= clock_timestamp()
                     ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING task, task_id, body, headers
        """,
        (SEND_AGAIN_S, SEND_MAX),
    )
    messages = [message_of(row) for row in due]
    if messages:
        with redis_trouble(), redis.pipeline(transaction=False) as pipe:
            for message in messages:
                pipe.lpush(queue_of(message.task), envelope(message))
            pipe.execute()
    return len(messages)


def message_of(row: Any) -> Message:
    """The message that is kept in a row of the ledger, as it is sent again."""
    headers = row.headers or {}
    task_id = json.loads(headers["task_id"]) if "task_id" in headers else row.task_id
    return Message(row.task, task_id, row.body, headers=headers)
