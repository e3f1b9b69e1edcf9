"""Where a listing of documents has come to: the bytes of an id as MongoDB has it, whatever that is.

What Python makes of an id may be another one: of text that is no UTF-8, or of an object that has a field twice.
To go on from that would leave documents out, or never come to an end.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import bson
from bson.max_key import MaxKey
from bson.raw_bson import RawBSONDocument

from worker.delivery.judging import CODEC, place

# Bytes of a value by its type (bsonspec.org): fixed, or what there is beside the length that it begins with.
_FIXED: Final = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0}
_BESIDE: Final = {2: 4, 3: 0, 5: 5, 12: 16, 13: 4, 14: 4, 15: 0}
_TYPE: Final = 4
_VALUE: Final = 4 + 1 + len(b"_id\0")


class Found(NamedTuple):
    """A document as it was read, and its place: `{"_id": …}` in BSON."""

    copy: dict[str, Any]
    place: bytes

    @property
    def plain(self) -> bool:
        """Whether a delivery that names the id as Python has it names this document."""
        return place(self.copy["_id"]) == self.place


def found_in(answer: bytes) -> Iterator[Found]:
    """The documents of an answer, one after the other."""
    start = 0
    while start < len(answer):
        end = start + _int32(answer, start)
        document = answer[start:end]
        yield Found(bson.decode(document, CODEC), _place_in(document))
        start = end


def bounds(after: bytes) -> tuple[dict[str, Any], list[tuple[str, Any]] | None]:
    """The condition, and the lower bound if there is one, of a listing that goes on at or behind this place."""
    key = bson.decode(after, CODEC)["_id"]
    if place(key) == after and not isinstance(key, MaxKey):
        # By a bound of the index, not by a condition: a condition passes over keys of another type.
        return {}, [("_id", key)]
    # No bound can be made of it, and MongoDB takes none that nothing is behind. This looks at all keys before it
    # once more: somebody planted it, and only at the end of a page does it matter.
    here = {"$getField": {"field": "_id", "input": {"$literal": RawBSONDocument(after)}}}
    return {"$expr": {"$gt": ["$_id", here]}}, None


def _place_in(document: bytes) -> bytes:
    """MongoDB puts the id first."""
    kind = document[_TYPE]
    size = _FIXED[kind] if kind in _FIXED else _int32(document, _VALUE) + _BESIDE[kind]
    element = document[_TYPE : _VALUE + size] + b"\0"
    return (4 + len(element)).to_bytes(4, "little") + element


def _int32(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")
