"""Put documents, one or a batch at once: the row is made where there is none."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tasks.documents.rules import Body
from tasks.documents.writing import SUBJECT, OneDocument, Written, changed, itself
from tasks.model.documents import Document
from tasks.model.rows import found_or_made
from worker import NotFound, Rejected, Result, UnitOfWork, job, update_many

COLUMNS: Final = ("id", "version", "body")


class PutDocument(OneDocument):
    """Write a document in full. With `if_version` only over this version; 0: only where there is none."""

    body: Body


@job("documents.put", subject=SUBJECT, locks=itself)
def put(command: PutDocument, work: UnitOfWork) -> Written:
    """Write the row, and the copy. A new put brings back what was deleted; a late repeat of an old one does not."""
    document = _there(command, work)
    return _put(document, command, work)


@put.batch
def put_all(asked: Sequence[tuple[PutDocument, UnitOfWork]]) -> Sequence[Result | Rejected]:
    """Change the rows in memory, in order, and write them at once.

    Missing ones are made first, in one order for all batches: two that put the same new documents do not deadlock.
    """
    session = asked[0][1].session
    found = {command.key: _found(command, work) for command, work in asked}
    missing = sorted(key for key, row in found.items() if row is None)
    rows = {key: row for key, row in found.items() if row is not None} | _made(session, missing)
    answers = [_try(rows[command.key], command, work) for command, work in asked]
    _write(session, rows.values())
    return answers


def _there(command: PutDocument, work: UnitOfWork) -> Document:
    return found_or_made(work, Document, command.key, version=0)


def _put(document: Document, command: PutDocument, work: UnitOfWork) -> Written:
    document.refuse_other(command.if_version)
    return changed(document, command, command.body, work)


def _try(document: Document, command: PutDocument, work: UnitOfWork) -> Written | Rejected:
    # One that is rejected has changed nothing: the rule is checked before the change.
    try:
        return _put(document, command, work)
    except Rejected as rejection:
        return rejection


def _found(command: PutDocument, work: UnitOfWork) -> Document | None:
    try:
        return work.get(Document, command.key)
    except NotFound:
        return None


def _made(session: Session, keys: Sequence[str]) -> dict[str, Document]:
    """The rows that were missing, locked: made at version 0, or what somebody else has made meanwhile."""
    if not keys:
        return {}
    session.execute(insert(Document).values([{"id": key, "version": 0} for key in keys]).on_conflict_do_nothing())
    theirs = select(Document).where(Document.id.in_(keys)).order_by(Document.id)
    return {row.id: row for row in session.scalars(theirs.with_for_update(key_share=True))}


def _write(session: Session, rows: Collection[Document]) -> None:
    with session.no_autoflush:
        update_many(session, Document, {name: [getattr(row, name) for row in rows] for name in COLUMNS})
        # Of a document that was made and refused, nothing stays.
        never = [row.id for row in rows if row.version == 0]
        session.execute(delete(Document).where(Document.id.in_(never)).execution_options(synchronize_session=False))
