"""What a job body may use: a session, the rows that it declared, and words for what must follow."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from worker.delivery.copies import Copies
from worker.delivery.effects import Document, DocumentChange, Effects, milliseconds
from worker.envelopes import body_of, envelope, queue_of
from worker.errors import NotFound
from worker.execution.command import Command
from worker.execution.past import Past
from worker.messages import Message, canonical, derive_id, version_header
from worker.stores.resources import Resources

Row = TypeVar("Row")

LoadedRows = Mapping[tuple[type[Any], UUID | str], Any]
"""Every row that the batch declared, locked; a row that does not exist maps to None."""

_ASKED_FOR: Final = "asked_for"
"""In the session's `info`: a body of this batch may have written."""


class UnitOfWork:
    """One job's view of its batch's transaction.

    `job_id` is the job's own id: use it for the row that the job creates, so that a repeat is the same row.
    `now` is the moment of the transaction on PostgreSQL's clock.
    """

    __slots__ = ("_effects", "_given", "_rows", "_session", "job_id", "now", "touched_session")

    def __init__(
        self, session: Session, job_id: UUID, now: datetime, rows: LoadedRows, effects: Effects, given: Resources
    ) -> None:
        self.job_id = job_id
        self.now = now
        self.touched_session = False
        self._session = session
        self._rows = rows
        self._effects = effects
        self._given = given

    @property
    def session(self) -> Session:
        """The ORM session of the batch: add and query with it, and never commit.

        Check the rules first and ask for the session afterwards: a body that raises before it has asked for it
        is undone in memory, which costs nothing.
        """
        self.touched_session = True
        self._session.info[_ASKED_FOR] = True
        return self._session

    def get(self, row: type[Row], key: UUID | str) -> Row:
        """The row, locked until the end of the batch. It must be among the job's declared `locks`.

        Raises `NotFound`, a rejection with the code `<row>_not_found`, when there is none.
        """
        try:
            found: Row | None = self._rows[row, key]
        except KeyError:
            raise LookupError(f"{row.__name__} {key} is not among the job's locks: declare it there") from None
        if found is None:
            raise NotFound(row, key)
        return found

    def cached(self, key: str, load: Callable[[Session], Any]) -> Any:
        """The value that is cached under `key`, else what `load` returns, as JSON has it; None is not kept.

        `load` reads with the session that it is given: rows in the batch's own may be older than what others have
        committed. The cache is passed by where this transaction may hold what is not committed: the job locks
        rows, or a body of its batch has asked for `session`.
        """
        if self._rows or self._session.info.get(_ASKED_FOR):
            return orjson.loads(orjson.dumps(self._read(load)))
        return self._given.cache.get(key, lambda: self._read(load))

    def _read(self, load: Callable[[Session], Any]) -> Any:
        try:
            with Session(self._session.connection(), join_transaction_mode="rollback_only") as session:
                return load(session)
        except SQLAlchemyError:
            self.touched_session = True  # its transaction may be broken: not to be undone in memory
            raise

    @property
    def documents(self) -> Copies:
        """What MongoDB has of documents: to read, for a job that compares. Who reads through it may wait."""
        return Copies(self.session.connection(), self._given.documents, self._given.settings.frozen_timeout_s / 3)

    @property
    def share_s(self) -> float:
        """How long a job of any length may go on in one transaction: an eighth of what ends its process.

        After that it saves how far it came, and enqueues another that goes on from there.
        """
        return self._given.settings.batch_limit_s / 8

    @property
    def past(self) -> Past:
        """What the runtime itself keeps of jobs that have ended."""
        return Past(self.session.connection(), self._given.settings, self.now)

    def store(self, document: Document) -> None:
        """Write this document to MongoDB after the commit, unless a newer version is there."""
        # What a job creates has the job's id. Where there is such a document nevertheless, the insert is refused.
        change = DocumentChange.store(document, new=document.id == self.job_id)
        self._effects.documents.append(change.to_bson())

    def remove(self, kind: type[Document], key: UUID) -> None:
        """Remove a document from MongoDB after the commit; a tombstone stays."""
        self._effects.documents.append(DocumentChange.remove(kind, key).to_bson())

    def store_in(self, collection: str, key: str, content: Mapping[str, Any]) -> None:
        """Write a document after the commit, as `store` does; its collection and its id are known only now."""
        self._effects.documents.append(DocumentChange(collection, key, content).to_bson())

    def remove_from(self, collection: str, key: Any) -> None:
        """Remove a document after the commit, as `remove` does; its collection and its id are known only now."""
        self._effects.documents.append(DocumentChange(collection, key, None).to_bson())

    def sweep(self, collection: str, key: Any, up_to: int) -> None:
        """Take a tombstone away after the commit, if its version is at most `up_to`: see `past.settled_version`."""
        self._effects.documents.append(DocumentChange(collection, key, None, up_to).to_bson())

    def keep(self, key: str, value: Mapping[str, Any], *, until: datetime) -> None:
        """Keep a value in Redis after the commit, as JSON, unless a newer one is there or has been.

        Whoever changes what is kept under `key` holds the lock on one row for it, and `until` never goes back.
        """
        self._effects.keep.append((key, orjson.dumps(value).decode(), milliseconds(until)))

    def end(self, key: str, *, until: datetime) -> None:
        """Take a value that is kept from Redis after the commit; no older one comes back. `until`: as it was."""
        self._effects.keep.append((key, None, milliseconds(until)))

    def forget(self, key: str) -> None:
        """Drop a cached value after the commit."""
        self._effects.forget.append(key)

    def publish(self, channel: str, message: Mapping[str, Any] | BaseModel) -> None:
        """Send a live message, as JSON, after the commit, to whoever listens then; a crash may send it twice."""
        told = message.model_dump() if isinstance(message, BaseModel) else message
        self._effects.publish.append((channel, orjson.dumps(told).decode()))

    def enqueue(self, command: Command, *, key: str | None = None) -> UUID:
        """Enqueue another job after the commit; returns its id, which is the same however often this body runs.

        With a `key` it is the same whoever enqueues it: an idempotency key.
        """
        payload = canonical(command.model_dump(mode="json", exclude_unset=True))
        following = derive_id(command.task, key or f"{self.job_id}/{len(self._effects.enqueue)}")
        headers = version_header(command.payload_version)
        message = Message(command.task, str(following), body_of(payload), headers=headers)
        self._effects.enqueue.append((queue_of(command.task), envelope(message).decode()))
        return following
