"""Documents go to MongoDB in bulk, each under a version, so that late and repeated writes are harmless."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from bson.errors import InvalidDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DocumentTooLarge, InvalidName, OperationFailure, PyMongoError

from worker.delivery.effects import DocumentChange
from worker.errors import StoreUnavailable

DUPLICATE_KEY: Final = 11000

NEVER: Final = {2, 9, 14, 52, 56, 57, 121, 10334, 17419, 17420}
"""Error codes of writes that no repetition helps: bad values and field names, validation, size."""

TROUBLE: Final = {6, 7, 13, 18, 50, 64, 89, 91, 112, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
"""Error codes that tell of the store and not of the document: rights, shutdown, stepdown, network, timeouts."""

Version = int

_Place: TypeAlias = tuple[str, Any, int | None]


class Failure(NamedTuple):
    """What was wrong with one row's effect; `final`: no repetition helps."""

    error: str
    final: bool = False


def write(database: Database[Any], changes: Iterable[tuple[Version, DocumentChange]]) -> dict[Version, Failure]:
    """Write each document unless a version as new is there. Returns the versions that failed, and why.

    Raises `StoreUnavailable` when MongoDB is away: then any part of the changes may be written.
    """
    wrong: dict[Version, Failure] = {}
    changes = list(changes)
    for collection, newest in _newest(changes).items():
        wrong |= _write_collection(database, collection, newest)
    return _with_older(changes, wrong) if wrong else wrong


def operation(version: Version, change: DocumentChange) -> ReplaceOne[dict[str, Any]] | DeleteOne:
    """The operation for one change: a delete leaves a tombstone, so that a late store cannot bring it back.

    A tombstone is swept by its own version, so that nothing which has been written since goes with it.
    """
    if change.sweep is not None:
        return DeleteOne({"_id": change.key, "deleted": True, "version": {"$lte": change.sweep}})
    # Not `$lt`: what somebody else put there may have no version at all, or one that is no number.
    older = {"_id": change.key, "version": {"$not": {"$gte": version}}}
    return ReplaceOne(older, {**(change.content or {}), **_marks(version, change)}, upsert=True)


def _first(
    version: Version, change: DocumentChange
) -> InsertOne[dict[str, Any]] | ReplaceOne[dict[str, Any]] | DeleteOne:
    """The operation that is tried first: when a new document is there already, the insert is refused."""
    if not change.new:
        return operation(version, change)
    return InsertOne({"_id": change.key, **(change.content or {}), **_marks(version, change)})


def _marks(version: Version, change: DocumentChange) -> dict[str, Any]:
    return {"version": version, "deleted": change.content is None}


def _newest(
    changes: Iterable[tuple[Version, DocumentChange]],
) -> Mapping[str, list[tuple[Version, DocumentChange]]]:
    # Within one unordered bulk write two changes of a document would race, and the older one is of no use.
    # A sweep stands for no other change: it only ever takes a tombstone that is as old as it says.
    newest: dict[_Place, tuple[Version, DocumentChange]] = {}
    for version, change in sorted(changes, key=lambda pair: pair[0]):
        newest[_place(change)] = version, change
    collections = defaultdict(list)
    for (collection, _, _), pair in newest.items():
        collections[collection].append(pair)
    return collections


def _place(change: DocumentChange) -> _Place:
    return change.collection, change.key, change.sweep


def _with_older(
    changes: Sequence[tuple[Version, DocumentChange]], wrong: Mapping[Version, Failure]
) -> dict[Version, Failure]:
    """Let the older changes of a document wait too when its newest could not be written: they were not either."""
    newest: dict[_Place, Version] = {}
    for version, change in changes:
        place = _place(change)
        newest[place] = max(version, newest.get(place, version))
    # Row by row, and place by place: a row may owe many documents.
    failed = [(version, newest[_place(change)]) for version, change in changes if newest[_place(change)] in wrong]
    older = {version: Failure(wrong[last].error) for version, last in failed if version < last}
    return older | dict(wrong)


def _write_collection(
    database: Database[Any],
    collection: str,
    changes: Sequence[tuple[Version, DocumentChange]],
    *,
    again: bool = False,
) -> dict[Version, Failure]:
    try:
        of = operation if again else _first
        database[collection].bulk_write([of(*pair) for pair in changes], ordered=False)
    except BulkWriteError as error:
        return _judge(database, collection, changes, error, again=again)
    except (DocumentTooLarge, InvalidDocument, OverflowError) as error:
        return _isolate(database, collection, changes, error, again=again)
    except InvalidName as error:
        return {version: Failure(f"{collection!r}: {error}", final=True) for version, _ in changes}
    except OperationFailure as error:
        if _tells_of_the_store(error):
            raise StoreUnavailable(f"MongoDB: {error}") from error
        if error.code in NEVER:
            return _isolate(database, collection, changes, error, again=again)
        return {version: Failure(f"{collection}: {error}") for version, _ in changes}
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB: {error}") from error
    return {}


def _tells_of_the_store(error: OperationFailure) -> bool:
    return error.code is None or error.code in TROUBLE or error.has_error_label("RetryableWriteError")


def _judge(
    database: Database[Any],
    collection: str,
    changes: Sequence[tuple[Version, DocumentChange]],
    error: BulkWriteError,
    *,
    again: bool,
) -> dict[Version, Failure]:
    errors = [each for each in error.details["writeErrors"] if not _is_taken(each)]
    if error.details["writeConcernErrors"] or any(each["code"] in TROUBLE for each in errors):
        told = error.details["writeConcernErrors"] or errors[0]["errmsg"]
        raise StoreUnavailable(f"MongoDB: {told}")
    wrong = {changes[each["index"]][0]: Failure(each["errmsg"], final=each["code"] in NEVER) for each in errors}
    taken = [changes[each["index"]] for each in error.details["writeErrors"] if _is_taken(each)]
    if taken and not again:
        # It was there already, or two inserts of one new document have raced, and the newer one lost. It exists
        # now: a second refusal really means that what is there is as new.
        wrong |= _write_collection(database, collection, taken, again=True)
    return wrong


def _is_taken(error: Mapping[str, Any]) -> bool:
    """Whether the `_id` was refused: the document exists. After an upsert, which asks for an older one: as new."""
    return error["code"] == DUPLICATE_KEY and set(error.get("keyPattern", ())) == {"_id"}


def _isolate(
    database: Database[Any],
    collection: str,
    changes: Sequence[tuple[Version, DocumentChange]],
    error: Exception,
    *,
    again: bool,
) -> dict[Version, Failure]:
    # The driver, or the server, refuses a whole bulk write for one document: halve until that one stands alone.
    if len(changes) == 1:
        return {changes[0][0]: Failure(str(error), final=True)}
    middle = len(changes) // 2
    return {
        **_write_collection(database, collection, changes[:middle], again=again),
        **_write_collection(database, collection, changes[middle:], again=again),
    }
