"""What the demo finds in the stores when all is quiet: read at once, to be checked as plain values.

What beat has enqueued meanwhile is no part of the workload, and is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from worker.operations.demo.stores import Stores

SCHEDULED: Final = "maintenance."
"""What the tasks of beat's jobs begin with."""

Document = dict[str, Any]
Event = dict[str, Any]


class JobRow(NamedTuple):
    """A job in the ledger of jobs."""

    id: UUID
    task: str
    state: str
    data: dict[str, Any] | None
    first_seen: datetime
    ended_at: datetime | None


class UserRow(NamedTuple):
    """A user."""

    id: UUID
    name: str
    email: str
    active: bool
    created_at: datetime


class Entry(NamedTuple):
    """A leg of a movement of money; without an account it is the currency's system account."""

    movement_id: UUID
    account_id: UUID | None
    currency: str
    amount: int
    entered_at: datetime


@dataclass(frozen=True)
class Books:
    """All that the stores hold of the demo's workload; `events` are in the order of the stream."""

    jobs: Mapping[UUID, JobRow]
    refused: int
    owed: int
    users: Mapping[UUID, UserRow]
    balances: Mapping[UUID, int]
    entries: Sequence[Entry]
    user_documents: Mapping[str, Document]
    receipts: Mapping[str, Document]
    events: Sequence[Event]

    @property
    def documents(self) -> int:
        """How many documents live: tombstones do not count."""
        kept = [*self.user_documents.values(), *self.receipts.values()]
        return sum(not document["deleted"] for document in kept)

    @property
    def working_s(self) -> float:
        """Seconds from the moment a job was first seen to the moment the last one ended."""
        ends = [job.ended_at for job in self.jobs.values() if job.ended_at]
        return (max(ends) - min(job.first_seen for job in self.jobs.values())).total_seconds() if ends else 0.0

    @property
    def event_ids(self) -> set[str]:
        """The ids of the events: a repeated one counts once."""
        return {event["id"] for event in self.events}


_OWED: Final = f"""
    trivet.outbox LEFT JOIN trivet.jobs ON jobs.id = outbox.job_id WHERE coalesce(task, '') NOT LIKE '{SCHEDULED}%'
"""


def read_books(stores: Stores) -> Books:
    """Read everything."""
    return Books(
        jobs={row.id: row for row in _rows(stores, JobRow, "trivet.jobs") if not row.task.startswith(SCHEDULED)},
        refused=_count(stores, "trivet.job_conflicts"),
        owed=_count(stores, _OWED),
        users={row.id: row for row in _rows(stores, UserRow, "users")},
        balances=dict(stores.postgres.execute("SELECT id, balance FROM accounts")),
        entries=_rows(stores, Entry, "ledger_entries"),
        user_documents=_documents(stores, "users"),
        receipts=_documents(stores, "receipts"),
        events=_events(stores),
    )


def _rows(stores: Stores, row: Any, table: str) -> list[Any]:
    columns = ", ".join(row._fields)
    return [row(*values) for values in stores.postgres.execute(f"SELECT {columns} FROM {table}")]  # noqa: S608 - ours


def _count(stores: Stores, table: str) -> int:
    [[count]] = stores.postgres.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
    return int(count)


def _events(stores: Stores) -> list[Event]:
    entries: Any = stores.redis.xrange("events")  # typed for every way of decoding
    events = (orjson.loads(fields[b"event"]) for _, fields in entries)
    return [event for event in events if not event["type"].startswith(SCHEDULED)]


def _documents(stores: Stores, collection: str) -> dict[str, Document]:
    return {document["_id"]: document for document in stores.mongo[collection].find()}
