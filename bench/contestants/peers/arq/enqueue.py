"""Put orders into arq's queue: JSON lines on standard input."""

import asyncio

from app import REDIS
from arq import create_pool

from bench.work import orders_on_stdin


async def main() -> None:
    """One after the other: arq has no way to enqueue many at once."""
    pool = await create_pool(REDIS)
    for order in orders_on_stdin():
        await pool.enqueue_job("transfer", order.id, order.source, order.target, order.amount, _job_id=order.id)


asyncio.run(main())
