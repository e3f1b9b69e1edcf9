"""Which rows make which documents: each slice declares its own, and maintenance compares them all."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, String, Uuid, any_, func, inspect, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from tasks.model import Base
from worker import Document

PAGE: Final = 500
"""Rows, with their documents, that are in memory together, at most."""

PAGE_BYTES: Final = 2 * 1024 * 1024
"""Text in these rows; a page ends with the row that passes it."""

Content: TypeAlias = Document | Mapping[str, Any]


class Page(NamedTuple):
    """What some documents should hold, by their ids; `place`: where to go on from."""

    contents: dict[str, Content]
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The documents of one collection, and the rows that they are made of.

    `rows` selects the rows that have a document, and `key` is their primary key: `prefix`, then the document's id.
    `content` is what a row's document holds; None: that cannot be told any more. `guard` is the table whose rows
    protect the documents, found by `guarded_by` where it is not the row itself; none: its documents never change.
    Whoever makes a new document writes to `guard`, or to `written` where that is another table. Rows that are
    `gone` are kept only for the sake of their tombstones.
    """

    collection: str
    rows: Select[*tuple[Any, ...]]
    key: InstrumentedAttribute[Any]
    content: Callable[[Any], Content | None]
    guard: type[Base] | None = None
    guarded_by: InstrumentedAttribute[Any] | None = None
    written: type[Base] | None = None
    prefix: str = ""
    gone: ColumnElement[bool] | None = None

    @property
    def table(self) -> str:
        """The table that everybody writes to who makes a new document."""
        return str(inspect(self.written or self.guard or Base).local_table)

    def pages(self, session: Session, after: str | None = None) -> Iterator[Page]:
        """What every document should hold, page by page; those behind the place `after`."""
        while found := self._read(session, (self.key.in_(self._next(after)),)):
            after = str(found[-1].key)
            yield Page(self._contents(found), after)
            session.expunge_all()

    def contents(self, session: Session, ids: Iterable[Any]) -> dict[str, Content]:
        """What these documents should hold, those that have a row."""
        return self._contents(self._read(session, (self.among(self.keys(ids)),)))

    def locked(self, session: Session, ids: Iterable[Any]) -> dict[str, Content]:
        """What these documents should hold, with the rows locked that protect them; not those somebody else has."""
        if self.guard is None:
            return self.contents(session, ids)
        guarded_by, these = self.guarded_by or self.key, self.among(self.keys(ids))
        (primary,) = inspect(self.guard).primary_key
        guards = session.scalars(select(guarded_by).where(these)).all()
        free = select(primary).where(_among(primary, guards)).order_by(primary)
        ours = session.scalars(free.with_for_update(key_share=True, skip_locked=True)).all()
        # In a statement of its own: only so is it read as it was when it was locked.
        return self._contents(self._read(session, (these, _among(guarded_by, ours))))

    def present(self, session: Session, ids: Iterable[Any]) -> set[str]:
        """Those of these documents that should be there."""
        found = session.scalars(self.rows.with_only_columns(self.key).where(self.among(self.keys(ids))))
        return {self.id_of(key) for key in found}

    def keys(self, ids: Iterable[Any]) -> list[Any]:
        """The primary keys of the rows with these documents, of those that any row can have."""
        return [key for key in map(self._key_of, ids) if key is not None]

    def among(self, keys: Sequence[Any]) -> ColumnElement[bool]:
        """Whether a row has one of these keys."""
        return _among(self.key, keys)

    def id_of(self, key: UUID | str) -> str:
        """The id of the document of the row with this key."""
        return str(key).removeprefix(self.prefix)

    def _key_of(self, name: Any) -> UUID | str | None:
        if not isinstance(name, str) or "\0" in name:
            return None
        if not isinstance(self.key.type, Uuid):
            return self.prefix + name
        try:
            key = UUID(name)
        except ValueError:
            return None
        return key if str(key) == name else None

    def _next(self, after: str | None) -> Select[Any]:
        """The keys of the next page: as many as it may have, and no more than it may hold of text."""
        texts = [column for column in self.rows.selected_columns if isinstance(column.type, String)]
        size = sum((func.coalesce(func.octet_length(text), 0) for text in texts), literal(0))
        rows = self.rows.with_only_columns(self.key.label("key"), size.label("size")).order_by(self.key).limit(PAGE)
        if after is not None:
            rows = rows.where(self.key > (UUID(after) if isinstance(self.key.type, Uuid) else after))
        one = rows.subquery()
        up_to = func.sum(one.c.size).over(order_by=one.c.key)
        summed = select(one.c.key, (up_to - one.c.size).label("before")).subquery()
        return select(summed.c.key).where(summed.c.before < PAGE_BYTES)

    def _read(self, session: Session, conditions: Iterable[ColumnElement[bool]]) -> Sequence[Any]:
        rows = self.rows.add_columns(self.key.label("key")).where(*conditions).order_by(self.key).limit(PAGE)
        return session.execute(rows.execution_options(populate_existing=True)).all()

    def _contents(self, found: Sequence[Any]) -> dict[str, Content]:
        told = ((self.id_of(row.key), self.content(row)) for row in found)
        return {key: content for key, content in told if content is not None}


def _among(column: Any, keys: Sequence[Any]) -> ColumnElement[bool]:
    same: ColumnElement[bool] = column == any_(literal(keys, ARRAY(column.type)))
    return same


PROJECTIONS: Final[list[Projection]] = []
"""Those of every slice that has been imported."""


def project(projection: Projection) -> None:
    """Declare which rows make the documents of a collection."""
    PROJECTIONS.append(projection)
    Document.swept.add(projection.collection)
