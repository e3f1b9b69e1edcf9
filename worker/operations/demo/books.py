"""What the demo finds in the stores when all is quiet: read at once, to be checked as plain values.

What beat has enqueued meanwhile is no part of the workload, and is left out.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
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

DOCUMENTS: Final = "documents."
SESSION_KEY: Final = "session:"


class JobRow(NamedTuple):
    """A job in the ledger of jobs."""

    id: UUID
    task: str
    state: str
    data: dict[str, Any] | None
    first_seen: datetime
    ended_at: datetime | None


class UserRow(NamedTuple):
    """A user; of one with `deleted_at` only the row is left."""

    id: UUID
    name: str
    email: str
    active: bool
    created_at: datetime
    deleted_at: datetime | None


class PostRow(NamedTuple):
    """A post."""

    id: UUID
    author_id: UUID
    title: str
    content: str
    published: bool
    created_at: datetime
    updated_at: datetime


class AccountRow(NamedTuple):
    """An account."""

    id: UUID
    balance: int
    held: int
    closed_at: datetime | None


class Entry(NamedTuple):
    """A leg of a movement of money; without an account it is the currency's system account."""

    movement_id: UUID
    account_id: UUID | None
    currency: str
    amount: int
    entered_at: datetime


class BodyRow(NamedTuple):
    """A free-form document: its place, its version and its body as JSON; None: it is gone."""

    id: str
    version: int
    body: str | None


class NotificationRow(NamedTuple):
    """A notification."""

    id: UUID
    user_id: UUID
    kind: str
    body: str
    sent_at: datetime
    read_at: datetime | None


class SessionRow(NamedTuple):
    """A session."""

    token_hash: str
    user_id: UUID
    attributes: str
    opened_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class Books:
    """All that the stores hold of the demo's workload.

    `copies` are the documents of each collection in MongoDB, tombstones among them; `served` are the sessions that
    Redis serves, by the hashes of their tokens; `events` are in the order of the stream.
    """

    jobs: Mapping[UUID, JobRow]
    refused: int
    owed: int
    users: Mapping[UUID, UserRow]
    posts: Mapping[UUID, PostRow]
    accounts: Mapping[UUID, AccountRow]
    entries: Sequence[Entry]
    bodies: Mapping[str, BodyRow]
    notifications: Mapping[UUID, NotificationRow]
    sessions: Mapping[str, SessionRow]
    copies: Mapping[str, Mapping[str, Document]]
    served: Mapping[str, Document]
    events: Sequence[Event]

    def live(self, collection: str) -> dict[str, Document]:
        """The documents of a collection that are no tombstones."""
        return {key: copy for key, copy in self.copies.get(collection, {}).items() if copy["deleted"] is False}

    @property
    def documents(self) -> Counter[str]:
        """How many documents live in each collection; all that are free-form are counted together."""
        counts: Counter[str] = Counter()
        for collection in self.copies:
            name = "documents" if collection.startswith(DOCUMENTS) else collection
            counts[name] += len(self.live(collection))
        return counts

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


def read_books(stores: Stores, planned: Container[UUID]) -> Books:
    """Read everything; `planned` are the ids of the workload's jobs, among them some that beat enqueues as well."""
    jobs = _keyed(stores, JobRow, "trivet.jobs")
    return Books(
        jobs={key: row for key, row in jobs.items() if key in planned or not row.task.startswith(SCHEDULED)},
        refused=_count(stores, "trivet.job_conflicts"),
        owed=_count(stores, _OWED),
        users=_keyed(stores, UserRow, "users"),
        posts=_keyed(stores, PostRow, "posts"),
        accounts=_keyed(stores, AccountRow, "accounts"),
        entries=_rows(stores, Entry, "ledger_entries"),
        bodies=_keyed(stores, BodyRow, "documents"),
        notifications=_keyed(stores, NotificationRow, "notifications"),
        sessions=_keyed(stores, SessionRow, "users_sessions"),
        copies={name: _copies(stores, name) for name in stores.mongo.list_collection_names()},
        served=_served(stores),
        events=_events(stores, planned),
    )


def _keyed(stores: Stores, row: Any, table: str) -> dict[Any, Any]:
    """Rows by their first column."""
    return {values[0]: values for values in _rows(stores, row, table)}


def _rows(stores: Stores, row: Any, table: str) -> list[Any]:
    columns = ", ".join(row._fields)
    return [row(*values) for values in stores.postgres.execute(f"SELECT {columns} FROM {table}")]  # noqa: S608 - ours


def _count(stores: Stores, table: str) -> int:
    [[count]] = stores.postgres.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
    return int(count)


def _events(stores: Stores, planned: Container[UUID]) -> list[Event]:
    entries: Any = stores.redis.xrange("events")  # typed for every way of decoding
    events = (orjson.loads(fields[b"event"]) for _, fields in entries)
    return [event for event in events if UUID(event["jobid"]) in planned or not event["type"].startswith(SCHEDULED)]


def _copies(stores: Stores, collection: str) -> dict[str, Document]:
    return {document["_id"]: document for document in stores.mongo[collection].find()}


def _served(stores: Stores) -> dict[str, Document]:
    keys = list(stores.redis.scan_iter(f"{SESSION_KEY}*", count=1_000))
    values: Any = stores.redis.mget(keys) if keys else []
    return {
        key.decode().removeprefix(SESSION_KEY): orjson.loads(value)
        for key, value in zip(keys, values, strict=True)
        if value is not None
    }
