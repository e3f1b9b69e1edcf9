"""What MongoDB has of documents, for a job that compares: it is read here and never written."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

import bson
import pymongo
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.cursor import Cursor, RawBatchCursor
from pymongo.database import Database
from pymongo.errors import PyMongoError
from sqlalchemy import Connection

from worker.delivery.judging import CODEC, TRUSTED_MAX, Content, Difference, is_version, judge, place, version_of
from worker.delivery.places import Found, bounds, found_in
from worker.delivery.versions import owed_documents, raise_ids
from worker.errors import Unavailable

PAGE: Final = 2_000
"""Documents that are listed at a time, at most: fewer where they do not fit into one answer, of 16 MiB."""

T = TypeVar("T")

_LISTED: Final = {"version": 1, "deleted": 1, "fields": {"$size": {"$objectToArray": "$$ROOT"}}}


class Listed(NamedTuple):
    """One document by its key, as a listing shows it; `tombstone`: it is one, and nothing else is in it.

    `ours`: the key is one that a delivery can name. `version`: 0 for one that no delivery replaces, too. `place`:
    where a listing has come to with it, to go on from there.
    """

    key: Any
    version: int
    tombstone: bool
    ours: bool
    place: bytes


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

    def listed(self, collection: str, after: bytes | None = None) -> Iterator[list[Listed]]:
        """Every document of a collection, page by page, by its key; those behind the place `after`."""
        while page := self._page(collection, after):
            yield page
            after = page[-1].place

    def tombstones(self, collection: str, up_to: int) -> Iterator[list[Listed]]:
        """The tombstones with a version of at most `up_to`, the oldest first, page by page."""
        old = {"deleted": True, "version": {"$gt": 0, "$lte": up_to}}
        passed = 0
        # By numbers and not by keys: those of one version may have keys of every type. Few are passed over.
        while page := self._ask(self._old(collection, old, passed).to_list):
            yield [_listed(Found(copy, place(copy["_id"]))) for copy in page]
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

    def _page(self, collection: str, after: bytes | None) -> list[Listed]:
        condition, bound = bounds(after) if after is not None else ({}, None)
        found = self._of(collection).find_raw_batches(condition, _LISTED, sort=[("_id", 1)], batch_size=PAGE + 1)
        found = found.hint([("_id", 1)]).limit(PAGE + 1)
        if bound is not None:
            found = found.min(bound)
        for answer in self._answers(found):
            # The one at the bound has been seen. It may fill an answer alone.
            if page := [_listed(each) for each in found_in(answer) if each.place != after]:
                return page
        return []

    def _old(self, collection: str, old: Mapping[str, Any], passed: int) -> Cursor[dict[str, Any]]:
        return self._of(collection).find(old, _LISTED).sort([("version", 1), ("_id", 1)]).skip(passed).limit(PAGE)

    def _wrong(self, collection: str, wanted: Mapping[Any, Content | None]) -> dict[Any, tuple[Difference, int]]:
        # One answer at a time, and one document of it: somebody may have planted large ones.
        found = self._of(collection).find_raw_batches({"_id": {"$in": list(wanted)}}, batch_size=len(wanted) + 1)
        judged: dict[Any, tuple[Difference | None, int]] = {}
        for answer in self._answers(found):
            for copy in bson.decode_iter(answer, CODEC):
                key = copy.pop("_id")
                judged[key] = judge(key, copy, wanted[key]), version_of(copy)
        judged |= {key: (judge(key, None, wanted[key]), 0) for key in wanted.keys() - judged.keys()}
        return {key: (wrong, version) for key, (wrong, version) in judged.items() if wrong is not None}

    def _answers(self, found: RawBatchCursor[dict[str, Any]]) -> Iterator[bytes]:
        """One after the other: each has at most 16 MiB, or one document, and is waited for by itself."""
        with found:
            while found.alive and (answer := cast("bytes", self._ask(lambda: next(found, b"")))):
                yield answer

    def _of(self, collection: str) -> Collection[dict[str, Any]]:
        return self._database.get_collection(collection, codec_options=CODEC)

    def _ask(self, question: Callable[[], T]) -> T:
        self._connection.exec_driver_sql("SELECT 1")
        try:
            with pymongo.timeout(self._patience_s):
                return question()
        except PyMongoError as error:
            raise Unavailable(f"MongoDB: {error}") from error


def _listed(found: Found) -> Listed:
    copy = found.copy
    key, number = copy["_id"], version_of(copy)
    bare = copy.get("deleted") is True and copy["fields"] == 3 and is_version(copy.get("version"))
    ours = isinstance(key, str | int | ObjectId) and found.plain
    return Listed(key, number if number < TRUSTED_MAX else 0, bare, ours, found.place)
