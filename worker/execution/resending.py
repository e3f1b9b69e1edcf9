"""Jobs in the ledger go to their queue when they are due: accepted through PostgreSQL, to be retried, replayed."""

from typing import Any, Final

from sqlalchemy import Connection

from worker.crash_points import crash_point
from worker.delivery.shards import turn_transaction
from worker.envelopes import envelope, queue_of
from worker.execution.sends import lock_sends, make_lost_due, note_loss, note_sent, push
from worker.messages import Message, exact_task_id
from worker.stores.resources import Resources

SEND_MAX: Final = 500
"""Jobs that go out at a time."""

SEND_BYTES: Final = 4 * 1024 * 1024
"""Bytes of messages that go out at a time, if it is more than one: a script holds up everybody else."""

IS_DUE: Final = """
    SELECT EXISTS (SELECT FROM trivet.jobs WHERE due_at <= statement_timestamp())
        OR EXISTS (SELECT FROM trivet.sends WHERE lost_to IS NOT NULL)
"""
"""Whether anything is to be sent: a look at the head of an index, and at a single row."""

FULL_AGAIN_S: Final = 10.0
"""How long a job waits in the ledger when its queue holds `TRIVET_QUEUE_MAX` messages."""


def send_due(given: Resources) -> int:
    """Send jobs that are due, the longest due first, and say how many; none while somebody else does it.

    They are sent before the commit: a crash in between sends them twice, never not at all. Raises
    `StoreUnavailable` when Redis is away.
    """
    with turn_transaction(given) as connection:
        known = lock_sends(connection)
        if known is None:
            return 0
        if known.lost_to is not None:
            make_lost_due(connection, known)
        due = _due(connection)
        if not due:
            return 0
        prefix = given.settings.queue_prefix
        messages = [(prefix + queue_of(row.task), envelope(message_of(row))) for row in due]
        numbers = push(given.redis, known.number, given.settings.queue_max, messages)
        crash_point("after_send")
        if numbers is not None:
            note_sent(connection, [row.id for row in due], numbers, FULL_AGAIN_S)
            return sum(number > 0 for number in numbers)
    note_loss(given)
    return 0


def message_of(row: Any) -> Message:
    """The message that is kept in a row of the ledger, as it is sent again.

    Headers are free for whoever may call `trivet.accept`. What is not as it should be is left for the worker to
    judge: one row that could not be sent would hold up all others.
    """
    headers = row.headers if isinstance(row.headers, dict) else {}
    return Message(row.task, exact_task_id(headers, row.task_id), row.body, headers=headers)


def _due(connection: Connection) -> list[Any]:
    found = connection.exec_driver_sql(
        """
        WITH due AS MATERIALIZED (
            SELECT id, due_at, octet_length(body) AS size FROM trivet.jobs
            WHERE due_at <= statement_timestamp() ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
        ), summed AS (
            SELECT id, due_at, sum(size) OVER (ORDER BY due_at, id) - size AS before FROM due
        )
        SELECT job.id, job.task, job.task_id, job.body, job.headers
        FROM summed JOIN trivet.jobs AS job USING (id)
        WHERE before < %s
        ORDER BY summed.due_at, job.id
        """,
        (SEND_MAX, SEND_BYTES),
    )
    return list(found)
