"""The ledger of jobs: who was accepted, what became of it, and when it is due again.

A job's row is written under its id in the transaction of its effect, so a job takes effect once however often and
wherever it is delivered: `claiming` finds the rows that are there, `recording` writes them.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
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

from worker.errors import Outcome
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
