"""The laws of what is copied: rows are what the workload leaves, and documents and sessions equal their rows."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from worker.operations.demo.books import DOCUMENTS, SESSION_KEY, Books, Document
from worker.operations.demo.telling import compared, milliseconds, told
from worker.operations.demo.workload import Workload


def users(workload: Workload, books: Books) -> Iterator[str]:
    """Who stays is there by name, and who left has at most a row without a name."""
    there = {key: row for key, row in books.users.items() if row.deleted_at is None}
    yield from told("users are missing", workload.left.names.keys() - there.keys())
    yield from told("users exist that nobody may have created", there.keys() - workload.left.names.keys())
    other = {key for key, row in there.items() if workload.left.names.get(key, row.name) != row.name}
    yield from told("users have another name than they were given", other)
    shown = {str(key): _plain(row, "id", "deleted_at") for key, row in there.items()}
    yield from compared("users", shown, _contents(books, "users"))


def posts(workload: Workload, books: Books) -> Iterator[str]:
    """Posts are those that were written and not removed, by themselves or with their author."""
    brought = {
        UUID(post["id"])
        for job in books.jobs.values()
        if job.task == "users.create" and job.state == "succeeded" and job.id not in workload.left.gone
        for post in (job.data or {})["posts"]
    }
    wanted = workload.left.posts | brought
    yield from told("posts are missing", wanted - books.posts.keys())
    yield from told("posts exist that nobody may have written", books.posts.keys() - wanted)
    shown = {str(key): _plain(row, "id") for key, row in books.posts.items()}
    yield from compared("posts", shown, _contents(books, "posts"))


def documents(workload: Workload, books: Books) -> Iterator[str]:
    """Bodies are what was put and patched, in PostgreSQL and in MongoDB."""
    kept = {row.id: json.loads(row.body) for row in books.bodies.values() if row.body is not None}
    yield from told("free-form documents are missing", workload.left.bodies.keys() - kept.keys())
    yield from told("free-form documents are not gone", kept.keys() - workload.left.bodies.keys())
    other = {key for key, body in workload.left.bodies.items() if kept.get(key, body) != body}
    yield from told("free-form documents hold something else than was put", other)
    copies = {
        f"{collection.removeprefix(DOCUMENTS)}/{key}": copy
        for collection in books.copies
        if collection.startswith(DOCUMENTS)
        for key, copy in _contents(books, collection).items()
    }
    shown = {key: {"body": body, "revision": books.bodies[key].version} for key, body in kept.items()}
    yield from compared("documents.*", shown, copies)


def notifications(workload: Workload, books: Books) -> Iterator[str]:
    """Notifications are those of users who stay, and read where they were marked."""
    read = {key: row.read_at is not None for key, row in books.notifications.items()}
    yield from told("notifications are missing", workload.left.notifications.keys() - read.keys())
    yield from told(
        "notifications exist that nobody may have sent", read.keys() - workload.left.notifications.keys()
    )
    other = {key for key, was_read in workload.left.notifications.items() if read.get(key, was_read) != was_read}
    yield from told("notifications are read, or not, against what was said", other)
    shown = {str(key): _plain(row, "id") for key, row in books.notifications.items()}
    yield from compared("notifications", shown, _contents(books, "notifications"))


def sessions(workload: Workload, books: Books) -> Iterator[str]:
    """Sessions are those that nobody ended, and Redis serves just those, as PostgreSQL has them."""
    live = {token: row for token, row in books.sessions.items() if row.revoked_at is None}
    yield from told("sessions are missing", workload.left.sessions.keys() - live.keys())
    yield from told("sessions live that were ended", live.keys() - workload.left.sessions.keys())
    shown = {
        token: (str(row.user_id), json.loads(row.attributes), row.opened_at, row.expires_at)
        for token, row in live.items()
    }
    served = {
        token: (value["user_id"], value["attributes"], _time(value["opened_at"]), _time(value["expires_at"]))
        for token, value in books.served.items()
    }
    yield from told("sessions are not served by Redis", shown.keys() - served.keys())
    yield from told(f"keys {SESSION_KEY}* serve a session that is over", served.keys() - shown.keys())
    other = {token for token in shown.keys() & served.keys() if shown[token] != served[token]}
    yield from told("sessions are served by Redis otherwise than PostgreSQL has them", other)


def _contents(books: Books, collection: str) -> dict[str, Document]:
    """Live documents without what every document carries."""
    carried = {"_id", "version", "deleted"}
    return {
        key: {name: value for name, value in copy.items() if name not in carried}
        for key, copy in books.live(collection).items()
    }


def _plain(row: Any, *without: str) -> Document:
    """A row as its document has it."""
    return {name: _as_mongo(value) for name, value in row._asdict().items() if name not in without}


def _as_mongo(value: object) -> object:
    match value:
        case datetime():
            return milliseconds(value)
        case UUID():
            return str(value)
    return value


def _time(told_as: str) -> datetime:
    return datetime.fromisoformat(told_as)
