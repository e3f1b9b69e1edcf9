"""taskiq's broker and task."""

import os

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from bench.orders import Order
from bench.work.awaiting import AsyncStores

JOBS_AT_ONCE = int(os.environ.get("T_JOBS", "20"))

broker = RedisStreamBroker(os.environ["TRIVET_REDIS_URL"], queue_name="transfers", unacknowledged_lock_timeout=10)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(state: TaskiqState) -> None:
    """Open the clients of a worker process."""
    state.stores = await AsyncStores.open(JOBS_AT_ONCE)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close(state: TaskiqState) -> None:
    """Close them."""
    await state.stores.close()


@broker.task
async def transfer(job_id: str, source: str, target: str, amount: int) -> None:
    """Do the whole work of a transfer."""
    await broker.state.stores.transfer("taskiq", Order(job_id, source, target, amount))
