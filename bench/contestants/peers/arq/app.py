"""arq's job and worker settings."""

import asyncio
import os
from typing import Any, ClassVar

import uvloop
from arq.connections import RedisSettings

from bench.orders import Order
from bench.work.awaiting import AsyncStores

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

REDIS = RedisSettings.from_dsn(os.environ["TRIVET_REDIS_URL"])
JOBS_AT_ONCE = 20
CONNECTIONS = 10


async def connect(context: dict[str, Any]) -> None:
    """Open the clients of a worker process."""
    context["stores"] = await AsyncStores.open(CONNECTIONS)


async def close(context: dict[str, Any]) -> None:
    """Close them."""
    await context["stores"].close()


async def transfer(context: dict[str, Any], job_id: str, source: str, target: str, amount: int) -> None:
    """Do the whole work of a transfer."""
    await context["stores"].transfer("arq", Order(job_id, source, target, amount))


LOGGING: dict[str, Any] = {"version": 1, "disable_existing_loggers": False}
"""Warnings only: by default each job writes two lines."""


class Worker:
    """What the worker's command reads."""

    functions: ClassVar = [transfer]
    redis_settings = REDIS
    on_startup = connect
    on_shutdown = close
    max_jobs = JOBS_AT_ONCE
    # Nobody asks for the results.
    keep_result = 0
    # arq takes new jobs only when it polls: at its default of half a second, 20 jobs at once make 40 a second.
    poll_delay = 0.01
    log_results = False
