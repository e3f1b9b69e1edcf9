"""Versions of documents that are drawn and not yet written, or that PostgreSQL no longer knows."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import bson
from sqlalchemy import Connection

from worker.errors import Unavailable

OWED_MAX: Final = 20_000
"""Documents that may be owed while somebody compares; with more, it is too early to say what is damaged."""


def owed_documents(connection: Connection, collection: str, keys: Iterable[Any]) -> dict[Any, int]:
    """Which of these documents are owed still, each with its newest version; those of parked effects too.

    Raises `Unavailable` when more than `OWED_MAX` are owed in all.
    """
    beginnings = {_beginning(collection, key): key for key in keys}
    lengths = sorted({len(beginning) for beginning in beginnings})
    if not lengths:
        return {}
    newest: defaultdict[Any, int] = defaultdict(int)
    for version, head in _heads(connection, lengths[-1]):
        for key in (beginnings.get(head[:length]) for length in lengths):
            if key is not None:
                newest[key] = max(newest[key], version)
    return dict(newest)


def raise_ids(connection: Connection, above: int) -> bool:
    """Let every version drawn from now on be higher than `above`; false when it would be anyway."""
    raised: bool = connection.exec_driver_sql("SELECT trivet.raise_outbox_id(%s)", (above,)).scalar_one()
    return raised


def _heads(connection: Connection, length: int) -> list[tuple[int, bytes]]:
    """The beginnings of all documents that are owed, without the count of bytes that comes first."""
    found = connection.exec_driver_sql(
        "SELECT id, substring(document FROM 5 FOR %s) FROM trivet.outbox, unnest(documents) AS document LIMIT %s",
        (length, OWED_MAX + 1),
    ).all()
    if len(found) > OWED_MAX:
        raise Unavailable(f"more than {OWED_MAX} documents are owed: what differs cannot be told before they are")
    return [(version, bytes(head)) for version, head in found]


def _beginning(collection: str, key: Any) -> bytes:
    # As `DocumentChange.to_bson` begins; without the count of all bytes, and the NUL at the end.
    return bson.encode({"collection": collection, "key": key})[4:-1]
