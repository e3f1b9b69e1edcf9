"""The outbox: rows that say what a committed job still owes.

A job owes at most two rows. The Redis lane waits for nobody. The document lane carries the documents and then the
completion event, and keeps order within its subject. A row's id is the version of its documents and the sequence
of its event: it is drawn while the job holds its locks, so versions rise in commit order.
"""

from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy import Sequence as DatabaseSequence

from worker.stores.arrays import pack
from worker.stores.round_trips import Statement
from worker.stores.schema import metadata

SHARDS: Final = 64
LOCK_SPACE: Final = 0x7472  # the first key of our advisory locks; the second is the shard


class Lane(IntEnum):
    """The two ways out."""

    REDIS = 0
    DOCUMENTS = 1


# CACHE 1: a session that kept numbers in hand would hand out versions that run against the order of commits.
outbox_id = DatabaseSequence("outbox_id", metadata=metadata, data_type=BigInteger, cache=1)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, outbox_id, server_default=outbox_id.next_value(), primary_key=True),
    Column("job_id", Uuid, nullable=False, index=True),
    Column("lane", SmallInteger, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("subject", Text, nullable=False),
    Column("size", Integer, nullable=False, comment="bytes that a turn has to carry"),
    Column("effects", Text, comment="the Redis lane's, as JSON"),
    Column("documents", ARRAY(LargeBinary), comment="the document lane's, as BSON"),
    Column("event", Text, comment="the CloudEvent without its sequence, which is this row's id"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("error", Text),
    Column("due_at", DateTime(timezone=True), comment="waits until then after a failure; null: at once"),
    Column("parked_at", DateTime(timezone=True), comment="given up: it can never succeed"),
    Column("owed_since", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index("outbox_owed_idx", outbox.c.lane, outbox.c.shard, outbox.c.id, postgresql_where=text("parked_at IS NULL"))
Index(
    "outbox_waiting_idx",
    outbox.c.subject,
    outbox.c.id,
    postgresql_where=text("due_at IS NOT NULL AND parked_at IS NULL"),
)

IS_OWED: Final = "SELECT EXISTS (SELECT FROM trivet.outbox WHERE parked_at IS NULL)"
"""Whether anything is owed: a look at the head of an index."""


class Owed(NamedTuple):
    """One row to insert."""

    job_id: UUID
    lane: Lane
    subject: str
    effects: str | None = None
    documents: Sequence[bytes] = ()
    event: str | None = None

    @property
    def shard(self) -> int:
        """The shard of its subject."""
        return shard_of(self.subject)

    @property
    def size(self) -> int:
        """Bytes that a turn has to carry for it, roughly."""
        return sum(map(len, self.documents)) + len(self.event or "") + len(self.effects or "")


def shard_of(subject: str) -> int:
    """CRC-32 of the subject, modulo the shards: stable over processes and versions."""
    return crc32(subject.encode()) % SHARDS


def owe(rows: Sequence[Owed]) -> Statement:
    """What inserts what a batch owes, and returns the ids: they are drawn in the order given."""
    # Arrays of arrays must be rectangular: documents travel as one flat array and are cut by their counts.
    # Most rows have one document, which goes as it is: cutting an array goes through it from its start.
    several = [row.documents if len(row.documents) > 1 else () for row in rows]
    flat = [document for documents in several for document in documents]
    ends = list(accumulate(map(len, several)))
    return Statement(
        """
        INSERT INTO trivet.outbox (job_id, lane, shard, subject, size, effects, event, documents)
        SELECT job_id, lane, shard, subject, size, effects, event,
               CASE count WHEN 0 THEN NULL WHEN 1 THEN ARRAY[document]
                          ELSE (%(owed_flat)b::bytea[])[last - count + 1 : last] END
        FROM unnest(%(owed_job_id)b::uuid[], %(owed_lane)b::smallint[], %(owed_shard)b::smallint[],
                    %(owed_subject)b::text[], %(owed_size)b::integer[], %(owed_effects)b::text[],
                    %(owed_event)b::text[], %(owed_count)b::integer[], %(owed_last)b::integer[],
                    %(owed_document)b::bytea[])
             WITH ORDINALITY
             AS row (job_id, lane, shard, subject, size, effects, event, count, last, document, position)
        ORDER BY position
        RETURNING id
        """,
        {
            "owed_flat": pack("bytea", flat),
            "owed_job_id": pack("uuid", [row.job_id for row in rows]),
            "owed_lane": pack("smallint", [int(row.lane) for row in rows]),
            "owed_shard": pack("smallint", [row.shard for row in rows]),
            "owed_subject": pack("text", [row.subject for row in rows]),
            "owed_size": pack("integer", [row.size for row in rows]),
            "owed_effects": pack("text", [row.effects for row in rows]),
            "owed_event": pack("text", [row.event for row in rows]),
            "owed_count": pack("integer", [len(row.documents) for row in rows]),
            "owed_last": pack("integer", ends),
            "owed_document": pack("bytea", [row.documents[0] if len(row.documents) == 1 else None for row in rows]),
        },
    )


def count_owed(connection: Connection, most: int) -> int:
    """How many rows are owed, over all nodes; it counts no further than `most`."""
    owed = connection.exec_driver_sql(
        "SELECT count(*) FROM (SELECT FROM trivet.outbox WHERE parked_at IS NULL LIMIT %s) AS first", (most,)
    )
    return int(owed.scalar_one())
