"""Recording a batch: what became of its jobs, and what they owe, in one statement."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, LiteralString

import orjson
from sqlalchemy import Connection

from worker.delivery.outbox import Owed, owe
from worker.errors import Outcome
from worker.execution.attempt import Attempt, Ending
from worker.execution.deciding import limit_of
from worker.execution.ledger import DEFAULT_DEADLINE
from worker.messages import HEADERS, encodable, printable, traceparent
from worker.stores.arrays import pack
from worker.stores.round_trips import Statement

HISTORY_MAX: Final = 20
"""Failed attempts that the history keeps: the last ones."""


def record(
    task: str, standing: Iterable[Attempt], subjects: Iterable[str], owed: Sequence[tuple[Attempt, Owed]]
) -> Statement:
    """What writes down what became of the jobs that this batch ran, and all that the batch owes.

    `subjects` are those of the events of the jobs. One statement: the number of a job's event is drawn on the way.
    It fails with `UniqueViolation` when a job that nobody knew has a row by now: another batch has run it.
    """
    rows = [(attempt, attempt.ended, subject) for attempt, subject in zip(standing, subjects, strict=True)]
    places = {attempt: place for place, (attempt, row) in enumerate(owed, 1) if row.event is not None}
    inserting = owe([row for _, row in owed])
    return Statement(
        _record_with(inserting.text),
        {
            "task": task,
            "default_deadline": DEFAULT_DEADLINE,
            "history_max": HISTORY_MAX,
            "id": pack("uuid", [attempt.job_id for attempt, _, _ in rows]),
            "known": pack("boolean", [attempt.known is not None for attempt, _, _ in rows]),
            "task_id": pack("text", [printable(attempt.message.task_id) for attempt, _, _ in rows]),
            "deadline": pack("timestamp with time zone", [limit_of(attempt) for attempt, _, _ in rows]),
            "state": pack("text", [ending.outcome.value for _, ending, _ in rows]),
            "subject": pack("text", [subject for _, _, subject in rows]),
            "data": pack("text", [orjson.dumps(ending.data).decode() for _, ending, _ in rows]),
            "failed": pack("boolean", [ending.failed for _, ending, _ in rows]),
            "due_in_s": pack("double precision", [ending.due_in_s for _, ending, _ in rows]),
            "error": pack("text", [ending.error and printable(ending.error) for _, ending, _ in rows]),
            "body": pack("bytea", [attempt.message.body if _kept(ending) else None for attempt, ending, _ in rows]),
            "headers": pack("text", [_headers(attempt) if _kept(ending) else None for attempt, ending, _ in rows]),
            "place": pack("bigint", [places.get(attempt) for attempt, _, _ in rows]),
            "traceparent": pack("text", [traceparent(attempt.message.headers) for attempt, _, _ in rows]),
            "digest": pack("bytea", [attempt.digest for attempt, _, _ in rows]),
            **inserting.values,
        },
    )


@cache
def _record_with(inserting: LiteralString) -> LiteralString:
    return f"""
        WITH owed AS ({inserting}),
        numbered AS (SELECT id AS sequence, row_number() OVER (ORDER BY id) AS place FROM owed),
        tried AS (
            SELECT *, now() + make_interval(secs => due_in_s) AS due_at,
                   CASE WHEN state <> 'retrying' THEN now() END AS ended_at,
                   CASE WHEN error IS NOT NULL THEN jsonb_build_object('at', now(), 'error', error) END AS failure
            FROM unnest(
                %(id)b::uuid[], %(known)b::boolean[], %(task_id)b::text[], %(deadline)b::timestamptz[],
                %(state)b::text[], %(subject)b::text[], %(data)b::text[], %(failed)b::boolean[],
                %(due_in_s)b::double precision[], %(error)b::text[], %(body)b::bytea[], %(headers)b::text[],
                %(place)b::bigint[], %(traceparent)b::text[], %(digest)b::bytea[])
            AS job (id, known, task_id, deadline, state, subject, data, failed, due_in_s, error, body, headers,
                    place, traceparent, digest)
            LEFT JOIN numbered USING (place)),
        again AS (
            UPDATE trivet.jobs AS job
            SET state = tried.state, subject = tried.subject, data = tried.data::jsonb,
                attempts = attempts + 1, failures = failures + tried.failed::int,
                due_at = tried.due_at, ended_at = tried.ended_at, body = tried.body, headers = tried.headers::jsonb,
                history = CASE WHEN failure IS NULL THEN history
                               ELSE CASE WHEN jsonb_array_length(history) < %(history_max)s THEN history
                                         ELSE coalesce(history - 0, '[]') END
                                    || failure END,
                sequence = tried.sequence, traceparent = tried.traceparent,
                digest = coalesce(job.digest, tried.digest)
            FROM tried WHERE tried.known AND job.id = tried.id)
        INSERT INTO trivet.jobs (id, task, task_id, digest, state, subject, data, attempts, failures, deadline,
                                 due_at, ended_at, body, headers, history, sequence, traceparent)
        SELECT id, %(task)s, task_id, digest, state, subject, data::jsonb, 1, failed::int,
               coalesce(deadline, now() + %(default_deadline)s::interval),
               due_at, ended_at, body, headers::jsonb,
               CASE WHEN failure IS NOT NULL THEN jsonb_build_array(failure) END, sequence, traceparent
        FROM tried WHERE NOT known
        ORDER BY id -- of two batches with the same jobs one waits for the other, and they never wait in a ring
        """  # noqa: S608 - of constants


def record_conflicts(connection: Connection, attempts: Iterable[Attempt]) -> None:
    """Write the refused messages down; one that had been refused before is marked as a repeat."""
    for attempt in attempts:
        inserted = connection.exec_driver_sql(
            "INSERT INTO trivet.job_conflicts (job_id, digest, task_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (attempt.job_id, attempt.digest, printable(attempt.message.task_id)),
        )
        attempt.repeats = inserted.rowcount == 0


def _kept(ending: Ending) -> bool:
    return ending.outcome in {Outcome.RETRYING, Outcome.PARKED}


def _headers(attempt: Attempt) -> str:
    """What must be known to send the message again as it was, and who waits for its result."""
    message = attempt.message
    given = {name: message.headers[name] for name in HEADERS if message.headers.get(name) is not None}
    kept = {
        name: value if isinstance(value, bool | int) else printable(str(value)) for name, value in given.items()
    }
    exact = {} if printable(message.task_id) == message.task_id else {"task_id": json.dumps(message.task_id)}
    waiting = sorted(encodable(task_id) for task_id in attempt.waiting)
    return json.dumps(kept | exact | ({"waiting": waiting} if waiting else {}))
