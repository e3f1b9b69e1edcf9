"""The stores of the demo: a database of its own on each server, made fresh, so that no other data is touched."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import namedtuple_row
from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis

from worker.operations.demo.errors import DemoFailed
from worker.operations.embedded import Urls

DATABASE: Final = "trivet_demo"
REDIS_DATABASE: Final = 15
_ONE_AT_A_TIME: Final = 0x7472_6465  # the key of the advisory lock of whoever runs a demo

Connection = psycopg.Connection[Any]


def demo_urls(urls: Urls) -> Urls:
    """The demo's databases on the servers of `urls`."""
    return Urls(
        urlsplit(urls.postgres)._replace(path=f"/{DATABASE}").geturl(),
        urlsplit(urls.mongo)._replace(path=f"/{DATABASE}").geturl(),
        urlsplit(urls.redis)._replace(path=f"/{REDIS_DATABASE}").geturl(),
    )


@dataclass(frozen=True)
class Stores:
    """Open clients of the demo's databases, to look at what the worker has done."""

    postgres: Connection
    mongo: Database[dict[str, Any]]
    redis: "Redis"

    @classmethod
    @contextmanager
    def open(cls, urls: Urls) -> Iterator[Self]:
        """Open them; `urls` are the demo's own."""
        with (
            psycopg.connect(urls.postgres, autocommit=True, row_factory=namedtuple_row) as postgres,
            MongoClient[dict[str, Any]](urls.mongo, tz_aware=True) as mongo,
            Redis.from_url(urls.redis) as redis,
        ):
            yield cls(postgres, mongo[DATABASE], redis)


@contextmanager
def fresh_databases(urls: Urls) -> Iterator[Urls]:
    """Empty databases on the servers of `urls`, for this demo alone; they stay, to be looked at, until the next."""
    own = demo_urls(urls)
    with psycopg.connect(urls.postgres, autocommit=True) as postgres:
        free = postgres.execute("SELECT pg_try_advisory_lock(%s)", (_ONE_AT_A_TIME,)).fetchone()
        if free != (True,):
            raise DemoFailed("another demo runs on these servers; wait until it has ended")
        postgres.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        postgres.execute(f"CREATE DATABASE {DATABASE}")
        with MongoClient[dict[str, Any]](own.mongo) as mongo, Redis.from_url(own.redis) as redis:
            mongo.drop_database(DATABASE)
            redis.flushdb()
        yield own
