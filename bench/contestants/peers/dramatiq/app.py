"""Dramatiq's broker and actor."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.orders import Order
from bench.work.blocking import Stores

dramatiq.set_broker(RedisBroker(url=os.environ["TRIVET_REDIS_URL"]))

stores = Stores()
"""Dramatiq imports this module in each worker process, after the fork."""


@dramatiq.actor
def transfer(job_id: str, source: str, target: str, amount: int) -> None:
    """Do the whole work of a transfer."""
    stores.transfer("dramatiq", Order(job_id, source, target, amount))
