"""Huey's queue and task."""

import os

from huey import RedisHuey

from bench.orders import Order
from bench.work.blocking import Stores

# It has no acknowledgement: a job that is taken from the list is lost with its worker. Nobody asks for results.
huey = RedisHuey("transfers", url=os.environ["TRIVET_REDIS_URL"], results=False)

_opened: list[Stores] = []


@huey.on_startup()
def connect() -> None:
    """Open the clients of a worker process; its threads share them."""
    if not _opened:
        _opened.append(Stores())


@huey.task()
def transfer(job_id: str, source: str, target: str, amount: int) -> None:
    """Do the whole work of a transfer."""
    _opened[0].transfer("huey", Order(job_id, source, target, amount))
