"""The work of a transfer with blocking drivers: for processes, and for threads."""

import threading
from typing import Any

import psycopg
import pymongo
import redis

from bench.orders import Order
from bench.work import EVENTS_KEPT, LOCK, MOVE, RECORD, Addresses, entries, event, receipt


class Stores:
    """The clients of one process, which stay open; each thread has its own connection to PostgreSQL.

    Made after the fork. MongoDB acknowledges by a majority.
    """

    def __init__(self) -> None:
        self._addresses = Addresses.told()
        self._own = threading.local()
        self._documents = pymongo.MongoClient[dict[str, Any]](self._addresses.mongo, w="majority")["trivet"]
        self._redis = redis.Redis.from_url(self._addresses.redis)

    @property
    def postgres(self) -> psycopg.Connection:
        """The connection of the thread that asks, opened when it first asks."""
        connection: psycopg.Connection | None = getattr(self._own, "connection", None)
        if connection is None or connection.closed:
            connection = self._own.connection = psycopg.connect(self._addresses.postgres)
        return connection

    def transfer(self, queue: str, asked: Order) -> None:
        """Move the money in one transaction, leave the receipt in `QUEUE_receipts`, tell; nothing without funds."""
        balances = self._move(asked)
        if balances is not None:
            self._documents[f"{queue}_receipts"].insert_one(receipt(asked, *balances))
            self.tell(f"{queue}.transfer", asked.id)

    def tell(self, task: str, job_id: str) -> None:
        """Append the event to the stream, and publish it."""
        told = event(task, job_id)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd("events", {"event": told}, maxlen=EVENTS_KEPT, approximate=True)
            pipe.publish(f"events:{task}", told)
            pipe.execute()

    def _move(self, asked: Order) -> tuple[int, int] | None:
        connection = self.postgres
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(LOCK, ([asked.source, asked.target],))
            rows = {row[0]: row for row in cursor}
            _, funds, currency = rows[asked.source]
            if funds < asked.amount:
                return None
            left: Any = cursor.execute(MOVE, (-asked.amount, asked.source)).fetchone()
            right: Any = cursor.execute(MOVE, (asked.amount, asked.target)).fetchone()
            cursor.execute(RECORD, entries(asked, currency))
        return left[0], right[0]
