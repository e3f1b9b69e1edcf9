"""What MongoDB has of documents, for a job that compares: it is read here and never written."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

import bson
import pymongo
from bson import CodecOptions, Decimal128, ObjectId
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion
from pymongo.collection import Collection
from pymongo.cursor import Cursor
from pymongo.database import Database
from pymongo.errors import PyMongoError
from sqlalchemy import Connection

from worker.delivery.effects import Document, content_of
from worker.delivery.versions import owed_documents, raise_ids
from worker.errors import Unavailable

PAGE: Final = 2_000
"""Documents that are listed at a time."""

VERSION_MAX: Final = 2**53
"""No version comes near it; one beyond it was written by somebody else, and no delivery replaces it."""

TRUSTED_MAX: Final = 2**52
"""A version from here on was planted by somebody: ours are not raised above it, or they would come near the end."""

Content = Document | Mapping[str, Any]
T = TypeVar("T")

# Whatever somebody put there must be readable: a date beyond the calendar, say.
_CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
_LISTED: Final = {"version": 1, "deleted": 1, "fields": {"$size": {"$objectToArray": "$$ROOT"}}}


class Listed(NamedTuple):
    """One document by its key, as a listing shows it; `tombstone`: it is one, and nothing else is in it.

    `ours`: the key is of a kind that a delivery can name. `version`: 0 for one that no delivery replaces, too.
    """

    key: Any
    version: int
    tombstone: bool
    ours: bool


class Difference(NamedTuple):
    """A document that is not what it should be: `missing`, `altered` or `extra`.

    `repairable`: a newer version will replace it. `size`: bytes that it should have.
    """

    key: Any
    problem: str
    repairable: bool
    size: int


class Copies:
    """The documents of all collections. Raises `Unavailable` when MongoDB does not answer within `patience_s`.

    Before each question PostgreSQL hears a word: it ends a transaction that is silent for longer than that.
    """

    def __init__(self, connection: Connection, database: Database[Any], patience_s: float) -> None:
        self._connection = connection
        self._database = database
        self._patience_s = patience_s

    def collections(self) -> list[str]:
        """The names of all collections."""
        return sorted(self._ask(self._database.list_collection_names))

    def listed(self, collection: str) -> Iterator[list[Listed]]:
        """Every document of a collection, page by page, by its key."""
        after: dict[str, Any] | None = None
        while page := self._page(collection, after):
            yield [_listed(found) for found in page]
            after = page[-1]

    def tombstones(self, collection: str, up_to: int) -> Iterator[list[Listed]]:
        """The tombstones with a version of at most `up_to`, the oldest first, page by page."""
        old = {"deleted": True, "version": {"$gt": 0, "$lte": up_to}}
        passed = 0
        # By numbers and not by keys: those of one version may have keys of every type. Few are passed over.
        while page := self._ask(self._old(collection, old, passed).to_list):
            yield [_listed(found) for found in page]
            passed += len(page)

    def differences(self, collection: str, wanted: Mapping[Any, Content | None]) -> list[Difference]:
        """Which documents are not as they are wanted, by their keys; None: it is gone, or never was.

        Apart from those that a delivery still owes. Read what is wanted first: only so is that complete.
        Raises `Unavailable` too when so much is owed that nobody can say.
        """
        suspects = self._wrong(collection, wanted)
        if not suspects:
            return []
        # What is not owed any more has been written: so what is owed is read first, and MongoDB once more.
        owed = owed_documents(self._connection, collection, suspects)
        still = self._wrong(collection, {key: wanted[key] for key in suspects})
        return [wrong for key, (wrong, version) in still.items() if owed.get(key, 0) <= version]

    def owed(self, collection: str, keys: Iterable[Any]) -> set[Any]:
        """Those of these documents that a delivery still owes."""
        return set(owed_documents(self._connection, collection, keys))

    def outrun(self, version: int) -> bool:
        """See to it that versions drawn from now on are above this one; says whether that had to be done.

        They are not after a restore of PostgreSQL from an older dump: then writes would be taken for late ones.
        """
        return raise_ids(self._connection, version)

    def _page(self, collection: str, after: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        # By bounds of the index, not by a condition: a condition passes over keys of another type.
        found = self._of(collection).find({}, _LISTED).sort("_id").hint([("_id", 1)]).limit(PAGE + 1)
        if after is not None:
            found = found.min([("_id", after["_id"])])
        page = self._ask(found.to_list)
        return page[1:] if after is not None and page and page[0]["_id"] == after["_id"] else page

    def _old(self, collection: str, old: Mapping[str, Any], passed: int) -> Cursor[dict[str, Any]]:
        return self._of(collection).find(old, _LISTED).sort([("version", 1), ("_id", 1)]).skip(passed).limit(PAGE)

    def _wrong(self, collection: str, wanted: Mapping[Any, Content | None]) -> dict[Any, tuple[Difference, int]]:
        found = self._ask(self._of(collection).find({"_id": {"$in": list(wanted)}}).to_list)
        there = {copy.pop("_id"): copy for copy in found}
        judged = {key: _judge(key, there.get(key), content) for key, content in wanted.items()}
        return {key: (wrong, _number(there.get(key))) for key, wrong in judged.items() if wrong is not None}

    def _of(self, collection: str) -> Collection[dict[str, Any]]:
        return self._database.get_collection(collection, codec_options=_CODEC)

    def _ask(self, question: Callable[[], T]) -> T:
        self._connection.exec_driver_sql("SELECT 1")
        try:
            with pymongo.timeout(self._patience_s):
                return question()
        except PyMongoError as error:
            raise Unavailable(f"MongoDB: {error}") from error


def _listed(found: Mapping[str, Any]) -> Listed:
    key, number = found["_id"], _number(found)
    bare = found.get("deleted") is True and found["fields"] == 3 and _is_version(found.get("version"))
    return Listed(key, number if number < TRUSTED_MAX else 0, bare, isinstance(key, str | int | ObjectId))


def _judge(key: Any, copy: Mapping[str, Any] | None, wanted: Content | None) -> Difference | None:
    if wanted is None:
        return None if copy is None else _judge_gone(key, copy)
    content = bson.encode(content_of(wanted), codec_options=_CODEC)
    if copy is None or copy.get("deleted") is True:
        return Difference(key, "missing", _number(copy) < TRUSTED_MAX, len(content))
    kept = {name: value for name, value in copy.items() if name not in {"version", "deleted"}}
    marked = copy.get("deleted") is False and _is_version(copy.get("version"))
    # Compared as they are stored: for Python, 1, 1.0 and True would be the same.
    if marked and bson.encode(kept, codec_options=_CODEC) == content:
        return None
    return Difference(key, "altered", _number(copy) < TRUSTED_MAX, len(content))


def _judge_gone(key: Any, copy: Mapping[str, Any]) -> Difference | None:
    if copy.get("deleted") is not True:
        return Difference(key, "extra", _number(copy) < TRUSTED_MAX, 0)
    if len(copy) == 2 and _is_version(copy.get("version")):
        return None
    return Difference(key, "altered", _number(copy) < TRUSTED_MAX, 0)


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < VERSION_MAX


def _number(copy: Mapping[str, Any] | None) -> int:
    """The version as a delivery compares with it: of any kind of number, rounded down, at most `VERSION_MAX`.

    A new version is whole: it is above a fraction when it is above its whole part. 0 for what is no number.
    """
    value = None if copy is None else copy.get("version")
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
        value = None if exact.is_nan() else exact
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not value > 0:
        return 0  # one that is not a number is above nothing, for MongoDB as for Python
    return math.floor(min(value, VERSION_MAX))
