"""taskiq's broker and task."""

import os

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from bench.orders import Order
from bench.work.awaiting import AsyncStores

CONNECTIONS = 10

# Of the two kinds of queue in Redis that share work out, the stream is the one that acknowledges.
broker = RedisStreamBroker(os.environ["TRIVET_REDIS_URL"], queue_name="transfers", unacknowledged_lock_timeout=10)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(state: TaskiqState) -> None:
    """Open the clients of a worker process."""
    state.stores = await AsyncStores.open(CONNECTIONS)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close(state: TaskiqState) -> None:
    """Close them."""
    await state.stores.close()


@broker.task
async def transfer(job_id: str, source: str, target: str, amount: int) -> None:
    """Do the whole work of a transfer."""
    await broker.state.stores.transfer("taskiq", Order(job_id, source, target, amount))
