"""What a job owes once it has committed: values, collected by its unit of work, kept in the outbox."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, ClassVar, Final, NamedTuple
from uuid import UUID

import bson
from bson.errors import InvalidDocument
from pydantic import BaseModel, ConfigDict

from worker.errors import InvalidPayload
from worker.messages import text_of

DOCUMENT_MAX = 16 * 1024 * 1024 - 16 * 1024
"""Bytes of BSON that MongoDB takes, less room for version and tombstone mark."""

_AS_IT_IS: Final = frozenset({str, int, float, bool, NoneType, datetime})
_SIMPLE: Final[frozenset[Any]] = _AS_IT_IS | {UUID}

COLLECTION: Final = re.compile(r"(?!system\.)[A-Za-z_][\w-]*(\.[\w-]+)*", re.ASCII)
"""Names that MongoDB takes for collections; stricter than it, so that none needs quotes anywhere."""


class Document(BaseModel):
    """A document in MongoDB: `class Receipt(Document, collection="receipts", indexes=("source",))`.

    Fields become BSON by their types: UUIDs as strings, aware times as dates. A document holds only what the lock
    on its guard row protects, so that its versions follow the order of commits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    collection: ClassVar[str]
    indexes: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[list[type["Document"]]] = []
    swept: ClassVar[set[str]] = set()
    """Collections whose tombstones are looked for by age, those of free-form documents too: they get an index."""

    id: UUID

    def __init_subclass__(cls, *, collection: str, indexes: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.collection = collection
        cls.indexes = indexes
        cls.kinds.append(cls)


class DocumentChange(NamedTuple):
    """One document as it is after the job; without content it is gone and a tombstone stays.

    With `sweep` it is the tombstone that goes, if its version is no higher than that. `new`: in all likelihood
    there has been no such document before; it is tried as an insert, which costs MongoDB a tenth of an upsert.
    """

    collection: str
    key: Any
    content: Mapping[str, Any] | None
    sweep: int | None = None
    new: bool = False

    @classmethod
    def store(cls, document: Document, *, new: bool = False) -> "DocumentChange":
        """The document takes this place, in full."""
        return cls(document.collection, text_of(document.id), content_of(document), new=new)

    @classmethod
    def remove(cls, kind: type[Document], key: UUID) -> "DocumentChange":
        """The document goes."""
        return cls(kind.collection, text_of(key), None)

    def to_bson(self) -> bytes:
        """As the outbox keeps it. Raises `InvalidPayload` for what MongoDB would refuse later."""
        if not COLLECTION.fullmatch(self.collection):
            raise InvalidPayload(f"{self.collection[:100]!r} cannot be the name of a collection")
        kept = {"collection": self.collection, "key": self.key, "content": self.content}
        if self.sweep is not None:
            kept["sweep"] = self.sweep
        if self.new:
            kept["new"] = True
        try:
            raw = bson.encode(kept)
        except (InvalidDocument, OverflowError, UnicodeError) as error:
            raise InvalidPayload(f"{self.collection}/{self.key} cannot be a document: {error}") from error
        if len(raw) > DOCUMENT_MAX:
            raise InvalidPayload(f"{self.collection}/{self.key} has {len(raw)} bytes, at most {DOCUMENT_MAX} fit")
        return raw

    @classmethod
    def from_bson(cls, raw: bytes) -> "DocumentChange":
        """As the outbox kept it."""
        kept = bson.decode(raw)
        return cls(kept["collection"], kept["key"], kept["content"], kept.get("sweep"), kept.get("new", False))


@dataclass(slots=True)
class Effects:
    """All that one job owes beside its completion event."""

    documents: list[bytes] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    keep: list[tuple[str, str | None, int]] = field(default_factory=list)
    publish: list[tuple[str, str]] = field(default_factory=list)
    enqueue: list[tuple[str, str]] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)

    def in_redis(self) -> dict[str, list[Any]]:
        """What goes through the Redis lane, by kind; empty when there is nothing."""
        lane: dict[str, list[Any]] = {
            "forget": self.forget,
            "keep": self.keep,
            "results": self.results,
            "publish": self.publish,
            "enqueue": self.enqueue,
        }
        return {kind: owed for kind, owed in lane.items() if owed}


def content_of(document: Document | Mapping[str, Any]) -> dict[str, Any]:
    """What MongoDB keeps of a document, beside its id, its version and the mark of a tombstone."""
    told = _told(document) if isinstance(document, Document) else document
    return {name: _plain(value) for name, value in told.items()}


def _told(document: Document) -> Mapping[str, Any]:
    """Its fields but for the id, as pydantic dumps them; read straight where that is the same: half the time."""
    if _dumps_as_it_is(type(document)):
        told = {name: document.__dict__[name] for name in _names(type(document))}
        if _SIMPLE.issuperset(map(type, told.values())):
            return told
    return {name: value for name, value in document.model_dump().items() if name != "id"}


def milliseconds(moment: datetime) -> int:
    """A moment as Redis counts time: whole milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


@cache
def _names(kind: type[Document]) -> Sequence[str]:
    return [name for name in kind.model_fields if name != "id"]


@cache
def _dumps_as_it_is(kind: type[Document]) -> bool:
    """Whether nothing in the class says otherwise: no serializer, alias, exclusion, or `model_dump` of its own."""
    own = kind.__pydantic_decorators__
    changed = own.field_serializers or own.model_serializers or own.computed_fields
    if changed or kind.model_config != Document.model_config or kind.model_dump is not Document.model_dump:
        return False
    return not any(each.metadata or each.exclude or each.exclude_if for each in kind.model_fields.values())


def _plain(value: Any) -> Any:
    if type(value) in _AS_IT_IS:
        return value
    match value:
        case UUID():
            return text_of(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
