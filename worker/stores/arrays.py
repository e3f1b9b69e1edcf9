"""Arrays in PostgreSQL's binary form, made in one pass: psycopg's own go from value to value in search of a type.

The type of a parameter is left to the server, that is to the cast in the statement, so a statement is prepared once
whatever is in its arrays; psycopg would prepare it anew where all are NULL, or the numbers are smaller. The form is
that of `array_recv`: https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format


class Packed(bytes):
    """The binary form of a value; a placeholder that stands for it is cast to its type."""

    __slots__ = ()


class _Kind(NamedTuple):
    """How the values of a type are written; its oid is one of those that never change.

    `size`: bytes of each value, where all have the same.
    """

    oid: int
    encode: Callable[[Any], bytes]
    size: int | None = None


NOT_PACKED: Final = (TypeError, AttributeError, ValueError, OverflowError, LookupError, struct.error)
"""What `pack` raises."""

_ZERO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)

_HEAD: Final = struct.Struct("!iiIii")  # dimensions, whether any is NULL, the oid, length, first index
_EMPTY: Final = struct.Struct("!iiI")
_LENGTH: Final = struct.Struct("!i")
_NULL: Final = _LENGTH.pack(-1)


def _bytea(value: Any) -> bytes:
    return value if type(value) is bytes else bytes(memoryview(value))


def _integer(size: int) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(size, "big", signed=True)


def _timestamp(value: datetime) -> bytes:
    return ((value - _ZERO) // _TICK).to_bytes(8, "big", signed=True)


_KINDS: Final[Mapping[str, _Kind]] = {
    "boolean": _Kind(16, {False: b"\0", True: b"\1"}.__getitem__, 1),
    "bytea": _Kind(17, _bytea),
    "bigint": _Kind(20, _integer(8), 8),
    "smallint": _Kind(21, _integer(2), 2),
    "integer": _Kind(23, _integer(4), 4),
    "text": _Kind(25, str.encode),
    "double precision": _Kind(701, struct.Struct("!d").pack, 8),
    "timestamp with time zone": _Kind(1184, _timestamp, 8),
    "uuid": _Kind(2950, attrgetter("bytes"), 16),
}


def pack(kind: str, values: Sequence[Any]) -> Packed:
    """The array of these values, None among them, of a type by its name in lower case.

    Raises one of `NOT_PACKED` for a type that this does not know, or a value that is none of its own.
    """
    oid, encode, size = _KINDS[kind]
    if not values:
        return Packed(_EMPTY.pack(0, 0, oid))
    nulls = None in values
    head = _HEAD.pack(1, nulls, oid, len(values), 1)
    if nulls:
        return Packed(head + b"".join([_NULL if value is None else _sized(encode(value)) for value in values]))
    if size is None:
        return Packed(head + b"".join(map(_sized, map(encode, values))))
    length = _LENGTH.pack(size)
    return Packed(head + length + length.join(map(encode, values)))


def _sized(encoded: bytes) -> bytes:
    return len(encoded).to_bytes(4, "big") + encoded


class _AsItIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: Packed) -> Packed:
        return obj


def register(connection: "psycopg.Connection[Any]") -> None:
    """Let a connection send arrays that are packed."""
    connection.adapters.register_dumper(Packed, _AsItIs)
