"""Put orders into taskiq's stream: JSON lines on standard input."""

import asyncio

from app import broker, transfer

from bench.work import orders_on_stdin


async def main() -> None:
    """One after the other: taskiq has no way to enqueue many at once."""
    await broker.startup()
    for order in orders_on_stdin():
        await transfer.kiq(order.id, order.source, order.target, order.amount)
    await broker.shutdown()


asyncio.run(main())
