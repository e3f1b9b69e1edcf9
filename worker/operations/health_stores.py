"""What is asked of each store: is it there, new enough, writable, migrated, durable."""

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from alembic.script import ScriptDirectory
from pymongo.database import Database
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError
from sqlalchemy import Connection, text

from worker.errors import WrongSettings
from worker.settings import Settings
from worker.stores.cache import Cache
from worker.stores.mongo import Json, database, open_mongo
from worker.stores.postgres import open_engine
from worker.stores.redis import open_redis


class Severity(StrEnum):
    """How much it matters when something is not as it should be."""

    ERROR = "error"
    WARNING = "warning"


class Unmet(Exception):
    """The store answers, and the answer is not what is needed."""


class Unverified(Exception):
    """The store does not let us look; that is a warning everywhere."""


@dataclass(frozen=True)
class Look:
    """One question: `ask` returns what it saw, or raises `Unmet`, `Unverified` or the driver's error."""

    what: str
    ask: Callable[[Any], str]
    remedy: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True)
class Store:
    """One store: how to reach it, and what to ask of what `reach` gives."""

    name: str
    reach: Callable[[], AbstractContextManager[Any]]
    looks: Sequence[Look]

    @property
    def remedy(self) -> str:
        """What to do when it cannot be reached."""
        return f"start it, or correct TRIVET_{self.name.upper()}_URL (for development: trivet dev start)"


def stores(settings: Settings, scripts: Path | None = None) -> tuple[Store, ...]:
    """All three, by the names in the settings; `scripts` is the folder of the migrations."""
    durable = Severity.ERROR if settings.env == "production" else Severity.WARNING
    return (
        Store("postgres", lambda: _reach_postgres(settings), _ask_postgres(scripts, durable)),
        Store("mongo", lambda: _reach_mongo(settings), _ask_mongo(durable)),
        Store("redis", lambda: _reach_redis(settings), _ask_redis(durable)),
    )


def heads(scripts: Path | None = None) -> set[str]:
    """The newest revisions of the migrations, in the folder `scripts` or else the installed package."""
    if scripts is None:
        package = importlib.util.find_spec("migrations")
        if package is None or package.origin is None:
            raise Unverified("the package migrations is not installed")
        scripts = Path(package.origin).parent
    return set(ScriptDirectory(scripts).get_heads())


def at_least(name: str, found: str, major: int, minor: int = 0) -> str:
    """Return what was found; raise `Unmet` when it is older than `major.minor`."""
    first, second, *_ = (*re.findall(r"\d+", found), "0")
    if (int(first), int(second)) < (major, minor):
        raise Unmet(f"{name} {found} is older than {major}.{minor}")
    return f"{name} {found}"


# PostgreSQL


@contextmanager
def _reach_postgres(settings: Settings) -> Iterator[Connection]:
    engine = open_engine(settings, application_name="trivet check")
    try:
        # Each question is a transaction of its own: one that fails does not harm the next.
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()


def _ask_postgres(scripts: Path | None, durable: Severity) -> tuple[Look, ...]:
    return (
        Look("version", _postgres_version, "upgrade PostgreSQL to 15 or newer"),
        Look("writable", _postgres_writable, "point TRIVET_POSTGRES_URL at the primary, and see its disk"),
        Look("migrated", lambda connection: _migrated(connection, heads(scripts)), "run: trivet migrate"),
        Look(
            "durable",
            _postgres_durable,
            "set fsync, full_page_writes and synchronous_commit to on, for the server and for the role",
            durable,
        ),
    )


def _postgres_version(connection: Connection) -> str:
    found = str(connection.scalar(text("SELECT current_setting('server_version_num')::int / 10000")))
    return at_least("PostgreSQL", found, 15)


def _postgres_writable(connection: Connection) -> str:
    # A temporary table writes to the catalogue and the log, needs no right on a schema, and is gone at commit.
    connection.execute(text("CREATE TEMPORARY TABLE trivet_check ON COMMIT DROP AS SELECT 1"))
    return "a write was committed"


def _migrated(connection: Connection, wanted: set[str]) -> str:
    if connection.scalar(text("SELECT to_regclass('trivet.alembic_version')")) is None:
        raise Unmet("the database holds no schema of this program")
    found = set(connection.scalars(text("SELECT version_num FROM trivet.alembic_version")))
    if found != wanted:
        raise Unmet(f"the database is at {_listed(found)}, this program at {_listed(wanted)}")
    return f"at {_listed(found)}"


def _listed(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision"


def _postgres_durable(connection: Connection) -> str:
    wanted = ("fsync", "full_page_writes", "synchronous_commit")
    found = {name: connection.scalar(text("SELECT current_setting(:name)"), {"name": name}) for name in wanted}
    off = [name for name, value in found.items() if value == "off"]
    if off:
        raise Unmet(f"off: {', '.join(off)}")
    return "a commit is on disk when it returns"


# MongoDB


@contextmanager
def _reach_mongo(settings: Settings) -> Iterator[Database[Json]]:
    with closing(open_mongo(settings)) as client:
        client.admin.command("ping")
        yield database(client, settings)


def _ask_mongo(durable: Severity) -> tuple[Look, ...]:
    return (
        Look("version", _mongo_version, "upgrade MongoDB to 6.0 or newer"),
        Look("writable", _mongo_writable, "let the user of TRIVET_MONGO_URL write, and see the replica set"),
        Look("durable", _mongo_durable, "start mongod with --replSet and initiate the replica set", durable),
    )


def _mongo_version(documents: Database[Json]) -> str:
    return at_least("MongoDB", documents.client.server_info()["version"], 6)


def _mongo_writable(documents: Database[Json]) -> str:
    mark = uuid4()
    documents["_health"].insert_one({"_id": mark})
    documents["_health"].delete_one({"_id": mark})
    return "a majority has written"


def _mongo_durable(documents: Database[Json]) -> str:
    if "setName" not in documents.client.admin.command("hello"):
        raise Unmet("it is no replica set")
    if documents.write_concern.document.get("w") != "majority":
        raise Unmet("writes do not wait for the majority")
    return "a replica set, written with w=majority"


# Redis


@contextmanager
def _reach_redis(settings: Settings) -> Iterator[Redis]:
    with closing(open_redis(settings, client_name="trivet-check")) as client:
        _greet(client)
        yield client


def _greet(client: Redis) -> None:
    try:
        client.ping()
    except ResponseError as error:
        if "HELLO" in str(error):  # its version cannot even be asked for in our protocol
            raise WrongSettings("Redis is older than 6: upgrade Redis to 6.2 or newer") from error
        raise


def _ask_redis(durable: Severity) -> tuple[Look, ...]:
    return (
        Look("version", _redis_version, "upgrade Redis to 6.2 or newer"),
        Look("writable", _redis_writable, "point TRIVET_REDIS_URL at the primary, and see its memory and disk"),
        Look("durable", _redis_durable, "set appendonly yes and maxmemory-policy noeviction", durable),
        Look("cached", _redis_cached, "let the user of TRIVET_REDIS_URL read trivet:cache", Severity.WARNING),
    )


def _redis_version(client: Redis) -> str:
    return at_least("Redis", str(_info(client, "server")["redis_version"]), 6, 2)


def _redis_writable(client: Redis) -> str:
    mark = f"trivet:check:{uuid4()}"
    client.set(mark, b"", ex=10)
    client.delete(mark)
    return "a key was set and deleted"


def _redis_durable(client: Redis) -> str:
    wrong = []
    if not _info(client, "persistence").get("aof_enabled"):
        wrong.append("appendonly is no")
    policy = _info(client, "memory").get("maxmemory_policy")
    if policy != "noeviction":
        wrong.append(f"maxmemory-policy is {policy}")
    if wrong:
        raise Unmet(", ".join(wrong))
    return "writes are logged, keys are never evicted"


def _redis_cached(client: Redis) -> str:
    hits, misses = Cache(client, ttl_s=1).counts()
    return f"{hits:,} of {hits + misses:,} reads found in the cache"


def _info(client: Redis, section: str) -> dict[str, Any]:
    """INFO tells what CONFIG GET would, and is allowed where that is not: managed servers, careful ACLs."""
    try:
        info: dict[str, Any] = client.info(section)
    except NoPermissionError:
        raise Unverified("cannot verify: this user may not run INFO") from None
    return info
