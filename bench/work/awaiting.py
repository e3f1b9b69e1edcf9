"""The work of a transfer with the drivers' asyncio clients: for workers that run some jobs at once in one loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pymongo
import redis.asyncio

from bench.orders import Order
from bench.work import EVENTS_KEPT, LOCK, MOVE, RECORD, Addresses, entries, event, receipt


class AsyncStores:
    """The clients of one event loop, which stay open; a job waits until a connection to PostgreSQL is idle."""

    def __init__(self, idle: asyncio.LifoQueue[psycopg.AsyncConnection], addresses: Addresses) -> None:
        self._idle = idle
        self._client = pymongo.AsyncMongoClient[dict[str, Any]](addresses.mongo, w="majority")
        self._redis = redis.asyncio.Redis.from_url(addresses.redis)

    @classmethod
    async def open(cls, connections: int) -> "AsyncStores":
        """Connect, so many times to PostgreSQL."""
        addresses = Addresses.told()
        idle: asyncio.LifoQueue[psycopg.AsyncConnection] = asyncio.LifoQueue()
        for _ in range(connections):
            idle.put_nowait(await psycopg.AsyncConnection.connect(addresses.postgres))
        return cls(idle, addresses)

    async def transfer(self, queue: str, asked: Order) -> None:
        """Move the money in one transaction, leave the receipt in `QUEUE_receipts`, tell; nothing without funds."""
        balances = await self._move(asked)
        if balances is not None:
            await self._client["trivet"][f"{queue}_receipts"].insert_one(receipt(asked, *balances))
            await self._tell(f"{queue}.transfer", asked.id)

    async def close(self) -> None:
        """Close every client; nothing runs any more."""
        while not self._idle.empty():
            await self._idle.get_nowait().close()
        await self._client.close()
        await self._redis.aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        connection = await self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put_nowait(connection)

    async def _move(self, asked: Order) -> tuple[int, int] | None:
        async with self._connection() as connection, connection.transaction(), connection.cursor() as cursor:
            await cursor.execute(LOCK, ([asked.source, asked.target],))
            rows = {row[0]: row for row in await cursor.fetchall()}
            _, funds, currency = rows[asked.source]
            if funds < asked.amount:
                return None
            await cursor.execute(MOVE, (-asked.amount, asked.source))
            left: Any = await cursor.fetchone()
            await cursor.execute(MOVE, (asked.amount, asked.target))
            right: Any = await cursor.fetchone()
            await cursor.execute(RECORD, entries(asked, currency))
        return left[0], right[0]

    async def _tell(self, task: str, job_id: str) -> None:
        told = event(task, job_id)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd("events", {"event": told}, maxlen=EVENTS_KEPT, approximate=True)
            pipe.publish(f"events:{task}", told)
            await pipe.execute()
