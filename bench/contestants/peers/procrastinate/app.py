"""Procrastinate's app and task; its tables are in a schema of their own."""

import asyncio
import os
from functools import cache

import uvloop
from procrastinate import App, PsycopgConnector

from bench.orders import Order
from bench.work.awaiting import AsyncStores

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

CONNECTIONS = 10

app = App(
    connector=PsycopgConnector(
        conninfo=os.environ["TRIVET_POSTGRES_URL"],
        kwargs={"options": "-c search_path=procrastinate"},
        min_size=4,
        max_size=CONNECTIONS,
    )
)


@cache
def stores() -> asyncio.Task[AsyncStores]:
    """Open the clients of a worker process when its first job asks; all jobs await the same."""
    return asyncio.ensure_future(AsyncStores.open(CONNECTIONS))


@app.task(name="transfer")
async def transfer(job_id: str, source: str, target: str, amount: int) -> None:
    """Do the whole work of a transfer."""
    await (await stores()).transfer("procrastinate", Order(job_id, source, target, amount))
