"""The open clients of one process, handed to whatever needs them."""

from dataclasses import dataclass
from typing import Any, Self

from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis
from sqlalchemy import Engine

from worker.settings import Settings
from worker.stores.cache import Cache
from worker.stores.mongo import database, open_mongo
from worker.stores.postgres import open_engine
from worker.stores.redis import HASTE_S, open_redis


@dataclass(frozen=True)
class Resources:
    """What a step may use; made after fork, because none of these clients survives one.

    `hasty` is a second client of Redis, for what one can do without: it gives up soon.
    """

    settings: Settings
    engine: Engine
    mongo: MongoClient[dict[str, Any]]
    redis: Redis
    hasty: Redis
    cache: Cache

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Make the clients; each connects when it is first used, so that a store may be away now."""
        # Within a batch, these waits must be shorter than its transaction may be silent: to connect and to be
        # answered takes the first of them twice.
        haste_s, wait_s = min(HASTE_S, settings.frozen_timeout_s / 4), min(1.5, settings.frozen_timeout_s / 3)
        hasty = open_redis(settings, client_name="trivet-hasty", timeout_s=haste_s)
        cache = Cache(hasty, settings.cache_ttl_s, wait_s=wait_s)
        return cls(settings, open_engine(settings), open_mongo(settings), open_redis(settings), hasty, cache)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def documents(self) -> Database[dict[str, Any]]:
        """The MongoDB database of the projections."""
        return database(self.mongo, self.settings)

    def close(self) -> None:
        """Close the clients in reverse order."""
        self.hasty.close()
        self.redis.close()
        self.mongo.close()
        self.engine.dispose()
