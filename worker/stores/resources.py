"""The open clients of one process, handed to whatever needs them."""

from dataclasses import dataclass
from typing import Any, Self

from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis
from sqlalchemy import Engine

from worker.settings import Settings
from worker.stores.mongo import database, open_mongo
from worker.stores.postgres import open_engine
from worker.stores.redis import open_redis


@dataclass(frozen=True)
class Resources:
    """What a step may use; made after fork, because none of these clients survives one."""

    settings: Settings
    engine: Engine
    mongo: MongoClient[dict[str, Any]]
    redis: Redis

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Make the clients; each connects when it is first used, so that a store may be away now."""
        return cls(settings, open_engine(settings), open_mongo(settings), open_redis(settings))

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
        self.redis.close()
        self.mongo.close()
        self.engine.dispose()
