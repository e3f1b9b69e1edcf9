"""The ledger of jobs: who was accepted, what became of it, and when it is due again.

Claiming a job inserts its row or takes one that has not ended; the row stays locked until the batch commits, so
a job takes effect once however often and wherever it is delivered.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, LiteralString
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Engine,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from worker.delivery.outbox import Owed, owe
from worker.errors import Outcome
from worker.execution.attempt import Attempt, Ending, Known
from worker.execution.deciding import decide, limit_of
from worker.execution.order import in_order
from worker.messages import HEADERS, Message, digest_of, encodable, printable, traceparent
from worker.stores.arrays import pack
from worker.stores.round_trips import Statement, begin_with
from worker.stores.schema import metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("task", Text, nullable=False),
    Column("task_id", Text, nullable=False, comment="the message's: results, Flower and revoke go by it"),
    Column("digest", LargeBinary, comment="SHA-256 of the canonical payload"),
    Column("state", Text, nullable=False),
    Column("subject", Text),
    Column("data", JSONB, comment="a result, or {code, message, ...}"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("first_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("deadline", DateTime(timezone=True), nullable=False),
    Column("due_at", DateTime(timezone=True), comment="when it is sent to its queue, if it has not ended by then"),
    Column("ended_at", DateTime(timezone=True)),
    Column("body", LargeBinary, comment="the raw message, kept until the job has ended, and for a parked one"),
    Column("headers", JSONB),
    Column("history", JSONB, comment="[{at, error}] of the attempts that failed"),
    Column("replays", Integer, nullable=False, server_default="0", comment="how often an operator replayed it"),
    Column("dropped_at", DateTime(timezone=True), comment="when an operator dropped it, parked for good"),
    Column("sequence", BigInteger, comment="of its completion event"),
    Column("traceparent", Text, comment="of its completion event"),
    Column("sent", BigInteger, comment="the number under which it was last sent to its queue"),
    CheckConstraint(f"state IN ({', '.join(repr(state.value) for state in Outcome)})", name="state"),
)
Index("jobs_due_idx", jobs.c.due_at, postgresql_where=text("due_at IS NOT NULL"))
Index(
    "jobs_sent_idx",
    jobs.c.sent,
    postgresql_where=text("sent IS NOT NULL AND due_at IS NULL AND ended_at IS NULL"),
)
Index("jobs_unsuccessful_idx", jobs.c.state, jobs.c.first_seen, postgresql_where=text("state <> 'succeeded'"))
Index("jobs_ended_idx", jobs.c.ended_at, postgresql_where=text("ended_at IS NOT NULL"))

conflicts = Table(
    "job_conflicts",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("digest", LargeBinary, primary_key=True, comment="of the payload that was refused"),
    Column("task_id", Text, nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

DEFAULT_DEADLINE = "24 hours"

HISTORY_MAX = 20
"""Failed attempts that the history keeps: the last ones."""


@contextmanager
def claim(engine: Engine, task: str, attempts: Sequence[Attempt]) -> Iterator[tuple[Connection, datetime]]:
    """Begin a transaction that claims the jobs of a batch, in id order; yields it and its time.

    Afterwards each attempt is either to be run, or repeats a job that has ended or comes earlier in the batch,
    or conflicts with one, or is refused for itself beside one, or has been rejected as expired.
    """
    attempts = _soundest_first(attempts)
    first = {attempt.job_id: attempt for attempt in reversed(attempts)}
    ordered = in_order(first)
    with begin_with(engine, _insertion(task, [first[job_id] for job_id in ordered])) as (connection, (inserted,)):
        ((now, claimed),) = inserted
        known = _take(connection, in_order(first.keys() - set(claimed)))
        standing: dict[UUID, Attempt] = {}
        for attempt in attempts:
            decide(attempt, task, known.get(attempt.job_id), standing, now)
        yield connection, now


def _soundest_first(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Of several messages of one job, the one that stands for it is sound, and has the most time.

    The others would end a job that was asked for in due form.
    """
    if len({attempt.job_id for attempt in attempts}) == len(attempts):
        return attempts
    forever = datetime.max.replace(tzinfo=UTC)
    return sorted(attempts, key=lambda each: (each.unsound, forever - (limit_of(each) or forever)))


def record(standing: Sequence[Attempt], subjects: Sequence[str], owed: Sequence[tuple[Attempt, Owed]]) -> Statement:
    """What writes down what became of the jobs that this batch ran, and all that the batch owes.

    `subjects` are those of the events of the jobs. One statement: the number of a job's event is drawn on the way.
    """
    rows = list(zip(standing, (attempt.ended for attempt in standing), subjects, strict=True))
    places = {attempt: place for place, (attempt, row) in enumerate(owed, 1) if row.event is not None}
    inserting = owe([row for _, row in owed])
    return Statement(
        _record_with(inserting.text),
        {
            "history_max": HISTORY_MAX,
            "id": pack("uuid", [attempt.job_id for attempt, _, _ in rows]),
            "state": pack("text", [str(ending.outcome) for _, ending, _ in rows]),
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
        numbered AS (SELECT id, row_number() OVER (ORDER BY id) AS place FROM owed)
        UPDATE trivet.jobs AS job
        SET state = new.state, subject = new.subject, data = new.data::jsonb, attempts = attempts + 1,
            failures = failures + new.failed::int, body = new.body, headers = new.headers::jsonb,
            due_at = now() + make_interval(secs => new.due_in_s),
            ended_at = CASE WHEN new.state <> 'retrying' THEN now() END,
            sequence = numbered.id, traceparent = new.traceparent, digest = coalesce(job.digest, new.digest),
            history = CASE WHEN new.error IS NULL THEN history
                           ELSE CASE WHEN jsonb_array_length(history) < %(history_max)s THEN history
                                     ELSE coalesce(history - 0, '[]') END
                                || jsonb_build_object('at', now(), 'error', new.error) END
        FROM unnest(%(id)b::uuid[], %(state)b::text[], %(subject)b::text[], %(data)b::text[], %(failed)b::boolean[],
                    %(due_in_s)b::double precision[], %(error)b::text[], %(body)b::bytea[], %(headers)b::text[],
                    %(place)b::bigint[], %(traceparent)b::text[], %(digest)b::bytea[])
             AS new (id, state, subject, data, failed, due_in_s, error, body, headers, place, traceparent,
                     digest)
             LEFT JOIN numbered USING (place)
        WHERE job.id = new.id
        """  # noqa: S608 - of constants


def record_conflicts(connection: Connection, attempts: Iterable[Attempt]) -> None:
    """Write the refused messages down; one that had been refused before is marked as a repeat."""
    for attempt in attempts:
        inserted = connection.exec_driver_sql(
            "INSERT INTO trivet.job_conflicts (job_id, digest, task_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (attempt.job_id, attempt.digest, printable(attempt.message.task_id)),
        )
        attempt.repeats = inserted.rowcount == 0


def _insertion(task: str, attempts: Sequence[Attempt]) -> Statement:
    """What inserts those that nobody knows; its row is the transaction's time and their ids."""
    return Statement(
        """
        WITH inserted AS (
            INSERT INTO trivet.jobs (id, task, task_id, digest, state, deadline)
            SELECT id, %(task)s, task_id, digest, 'accepted', coalesce(deadline, now() + %(default)s::interval)
            FROM unnest(%(id)b::uuid[], %(task_id)b::text[], %(digest)b::bytea[], %(deadline)b::timestamptz[])
                 AS new (id, task_id, digest, deadline)
            ON CONFLICT (id) DO NOTHING RETURNING id)
        SELECT now(), ARRAY(SELECT id FROM inserted)
        """,
        {
            "task": task,
            "default": DEFAULT_DEADLINE,
            "id": pack("uuid", [attempt.job_id for attempt in attempts]),
            "task_id": pack("text", [printable(attempt.message.task_id) for attempt in attempts]),
            "digest": pack("bytea", [attempt.digest for attempt in attempts]),
            "deadline": pack("timestamp with time zone", [limit_of(attempt) for attempt in attempts]),
        },
    )


def _take(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Known]:
    if not ids:
        return {}
    rows = connection.exec_driver_sql(
        "SELECT id, task, task_id, digest, state, data, attempts, failures, replays, deadline,"
        " CASE jsonb_typeof(headers) WHEN 'object' THEN headers ELSE '{}' END AS headers,"
        " CASE WHEN digest IS NULL THEN body END AS unread"
        " FROM trivet.jobs"
        " WHERE id = ANY(%s) ORDER BY id FOR UPDATE",
        (list(ids),),
    )
    return {row.id: _known(row) for row in rows}


def _known(row: Any) -> Known:
    told = row._asdict() | {"state": Outcome(row.state), "data": row.data or {}}
    if (body := told.pop("unread")) is not None:
        # Enqueued by SQL, and nobody has read its payload yet.
        told["digest"] = digest_of(Message(row.task, row.task_id, body, headers=row.headers))
    return Known(**told)


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
