"""Whether one document of MongoDB is what it should be; whatever somebody may have put there."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import bson
from bson import CodecOptions, Decimal128
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion

from worker.delivery.effects import Document, content_of

VERSION_MAX: Final = 2**53
"""No version comes near it; one beyond it was written by somebody else, and no delivery replaces it."""

TRUSTED_MAX: Final = 2**52
"""A version from here on was planted by somebody: ours are not raised above it, or they would come near the end."""

Content = Document | Mapping[str, Any]

# Whatever somebody put there must be readable: a date beyond the calendar, say.
CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)


class Difference(NamedTuple):
    """A document that is not what it should be: `missing`, `altered` or `extra`.

    `repairable`: a newer version will replace it. `size`: bytes that it should have, with its key.
    """

    key: Any
    problem: str
    repairable: bool
    size: int


def place(key: Any) -> bytes:
    """Where a listing is when it has come to this key, to go on from there."""
    return bson.encode({"_id": key}, codec_options=CODEC)


def judge(key: Any, copy: Mapping[str, Any] | None, wanted: Content | None) -> Difference | None:
    """What is wrong with this document, or with there being none; nothing, when it is as it is wanted."""
    if wanted is None:
        return None if copy is None else _judge_gone(key, copy)
    content = bson.encode(content_of(wanted), codec_options=CODEC)
    if copy is None or copy.get("deleted") is True:
        return Difference(key, "missing", version_of(copy) < TRUSTED_MAX, len(place(key)) + len(content))
    kept = {name: value for name, value in copy.items() if name not in {"version", "deleted"}}
    marked = copy.get("deleted") is False and is_version(copy.get("version"))
    # Compared as they are stored: for Python, 1, 1.0 and True would be the same.
    if marked and bson.encode(kept, codec_options=CODEC) == content:
        return None
    return Difference(key, "altered", version_of(copy) < TRUSTED_MAX, len(place(key)) + len(content))


def _judge_gone(key: Any, copy: Mapping[str, Any]) -> Difference | None:
    if copy.get("deleted") is not True:
        return Difference(key, "extra", version_of(copy) < TRUSTED_MAX, len(place(key)))
    if len(copy) == 2 and is_version(copy.get("version")):
        return None
    return Difference(key, "altered", version_of(copy) < TRUSTED_MAX, len(place(key)))


def is_version(value: object) -> bool:
    """Whether the runtime may have written this version."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < VERSION_MAX


def version_of(copy: Mapping[str, Any] | None) -> int:
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
