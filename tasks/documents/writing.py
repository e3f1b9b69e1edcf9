"""Patch and delete documents: PostgreSQL keeps body and version, MongoDB gets the copy that is read."""

import json
from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import select

from tasks.documents.rules import (
    COLLECTIONS,
    Changes,
    Collection,
    Id,
    IfVersion,
    Object,
    merged,
    refuse_invalid,
    written,
)
from tasks.model.documents import Document
from tasks.model.projections import Projection, project
from worker import Command, Result, UnitOfWork, job


class OneDocument(Command):
    """A document, by its collection and its id there."""

    collection: Collection
    id: Id
    if_version: IfVersion | None = None

    @property
    def key(self) -> str:
        """Its primary key."""
        return f"{self.collection}/{self.id}"


class PatchDocument(OneDocument):
    """Change a document by a JSON merge patch (RFC 7396): null removes a key, an object changes within."""

    changes: Changes


class DeleteDocument(OneDocument):
    """Remove a document."""


class Written(Result):
    """The document, and the version that it has now; one that is removed keeps its version."""

    collection: str
    id: str
    version: int


def itself(command: OneDocument) -> Iterator[tuple[type[Document], str]]:
    """The row of the document that is meant."""
    yield Document, command.key


SUBJECT = "documents/{collection}/{id}"


@job("documents.patch", subject=SUBJECT, locks=itself)
def patch(command: PatchDocument, work: UnitOfWork) -> Written:
    """Merge the changes into the row, and write the copy; what comes of it obeys the same rules."""
    document = work.get(Document, command.key)
    document.refuse_gone()
    document.refuse_other(command.if_version)
    body = cast("Object", merged(json.loads(document.body or "{}"), command.changes))
    refuse_invalid(body, "changes")
    return changed(document, command, body, work)


@job("documents.delete", subject=SUBJECT, locks=itself)
def delete(command: DeleteDocument, work: UnitOfWork) -> Written:
    """Take the body from the row, and the copy from MongoDB, where a tombstone stays."""
    document = work.get(Document, command.key)
    document.refuse_gone()
    document.refuse_other(command.if_version)
    return changed(document, command, None, work)


def changed(document: Document, command: OneDocument, body: Object | None, work: UnitOfWork) -> Written:
    """Give the row this body, None for a delete, and let the copy follow."""
    document.change(None if body is None else written(body))
    collection = f"documents.{command.collection}"
    if body is None:
        work.remove_from(collection, command.id)
    else:
        work.store_in(collection, command.id, _copy(document, body))
    return Written(collection=command.collection, id=command.id, version=document.version)


def _copy(document: Document, body: Object) -> dict[str, Any]:
    return {"body": body, "revision": document.version}


def _copy_of(row: Any) -> dict[str, Any]:
    return _copy(row.Document, json.loads(row.Document.body))


for _collection in sorted(COLLECTIONS):
    _there = Document.id.startswith(f"{_collection}/", autoescape=True)
    project(
        Projection(
            collection=f"documents.{_collection}",
            rows=select(Document).where(Document.body.is_not(None), _there),
            key=Document.id,
            prefix=f"{_collection}/",
            guard=Document,
            content=_copy_of,
            gone=Document.body.is_(None),
        )
    )
