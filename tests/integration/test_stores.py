"""The clients of the three stores: their limits, what they report, and what their errors mean."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import psycopg
import pytest
import structlog
from pymongo.errors import ServerSelectionTimeoutError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.testing import capture_logs

from worker.errors import WrongSettings
from worker.settings import Settings
from worker.stores.mongo import database, open_mongo
from worker.stores.postgres import open_engine
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.redis import open_redis

MakeSettings = Callable[..., Settings]
Open = Callable[..., Engine]


class Urls(Protocol):
    postgres: str
    mongo: str
    redis: str


@pytest.fixture
def settings(servers: Urls) -> MakeSettings:
    """Settings for the real servers, with changes."""

    def make(**changed: Any) -> Settings:
        urls = {"postgres_url": servers.postgres, "mongo_url": servers.mongo, "redis_url": servers.redis}
        return Settings(_env_file=None, **{**urls, **changed})

    return make


@pytest.fixture
def engine(settings: MakeSettings) -> Iterator[Open]:
    """`open_engine` with changed settings; disposed of after the test."""
    opened: list[Engine] = []

    def make(**changed: Any) -> Engine:
        opened.append(open_engine(settings(**changed)))
        return opened[-1]

    yield make
    for one in opened:
        one.dispose()


@pytest.fixture
def nobody() -> str:
    """Host and port of a server that is down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def with_options(url: str, options: str) -> str:
    """`url`, with `options` for the server's session."""
    return f"{url}{'&' if '?' in url else '?'}options={options.replace(' ', '%20').replace('=', '%3D')}"


def ask(engine: Engine, statement: str, **values: object) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text(statement), values)


def backend(engine: Engine) -> int:
    return int(ask(engine, "SELECT pg_backend_pid()"))


# The pool


def test_a_connection_idle_for_too_long_is_replaced(engine: Open) -> None:
    impatient = engine(pool_idle_s=1e-9)

    assert backend(impatient) != backend(impatient)


def test_a_connection_that_was_just_used_is_used_again(engine: Open) -> None:
    patient = engine()

    assert backend(patient) == backend(patient)


def test_the_pool_refuses_after_its_timeout(engine: Open) -> None:
    small = engine(pool_max=1, pool_timeout_s=0.05)

    with small.connect(), pytest.raises(PoolTimeoutError) as raised:
        small.connect()

    assert classify(raised.value) is Trouble.AWAY


def test_the_pool_opens_as_many_connections_as_it_may(engine: Open) -> None:
    two = engine(pool_max=2, pool_timeout_s=0.05)

    with two.connect() as first, two.connect() as second:
        pids = {one.scalar(text("SELECT pg_backend_pid()")) for one in (first, second)}

    assert len(pids) == 2


def test_a_connection_that_the_server_ended_is_replaced_before_use(engine: Open) -> None:
    ours, other = engine(), engine()

    pid = backend(ours)
    ask(other, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)

    assert backend(ours) != pid


# The session


def test_a_session_has_our_timeouts_whatever_the_url_says(servers: Urls, engine: Open) -> None:
    url = with_options(servers.postgres, "-c statement_timeout=0 -c work_mem=5MB")

    ours = engine(postgres_url=url, lease_s=6)

    assert [ask(ours, f"SHOW {name}") for name in ("statement_timeout", "lock_timeout", "work_mem")] == [
        "4s",
        "2s",
        "5MB",
    ]
    assert ask(ours, "SHOW idle_in_transaction_session_timeout") == "2s"
    assert ask(ours, "SHOW timezone") == "UTC"


def test_a_session_says_who_it_is(settings: MakeSettings) -> None:
    named = open_engine(settings(), application_name="trivet test")

    assert ask(named, "SHOW application_name") == "trivet test"
    named.dispose()


# What is logged


@contextmanager
def logging_from(level: int) -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    yield
    structlog.configure(**before)


@pytest.fixture
def above_debug() -> Iterator[None]:
    with logging_from(logging.INFO):
        yield


@pytest.fixture
def at_debug() -> Iterator[None]:
    with logging_from(logging.DEBUG):
        yield


def about(logs: list[Any], part: str) -> list[Any]:
    """The events of statements with this part; SQLAlchemy asks the server a few things of its own."""
    return [log for log in logs if part in log["statement"]]


def test_query_logs_hold_no_values(engine: Open, at_debug: None) -> None:
    with capture_logs() as logs:
        ask(engine(), "SELECT :value ||\n  'x'", value="canary")

    [log] = about(logs, "||")
    assert log.pop("duration_ms") >= 0
    assert log == {
        "event": "query",
        "log_level": "debug",
        "rows": 1,
        "statement": "SELECT %(value)s || 'x'",
    }


def test_a_slow_query_is_warned_about(engine: Open, above_debug: None) -> None:
    with capture_logs() as logs:
        ask(engine(slow_query_ms=20), "SELECT 'slow' FROM pg_sleep(0.03)")

    [log] = about(logs, "pg_sleep")
    assert (log["event"], log["log_level"]) == ("query.slow", "warning")
    assert log["duration_ms"] > 20


def test_a_query_that_ran_into_its_timeout_is_warned_about_too(engine: Open, above_debug: None) -> None:
    with capture_logs() as logs, engine(slow_query_ms=20).connect() as connection:
        connection.execute(text("SET LOCAL statement_timeout = '30ms'"))
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT pg_sleep(10)"))

    assert [log["event"] for log in about(logs, "pg_sleep")] == ["query.slow"]


def test_a_quick_query_is_not_worth_a_word_above_debug(engine: Open, above_debug: None) -> None:
    with capture_logs() as logs:
        ask(engine(slow_query_ms=10_000), "SELECT 1")

    assert logs == []


def test_an_error_holds_no_values(engine: Open) -> None:
    with pytest.raises(DBAPIError) as raised:
        ask(engine(), "SELECT * FROM missing WHERE a = :value", value="canary")

    assert "canary" not in str(raised.value)


# What errors mean


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        *((code, Trouble.AWAY) for code in ("08006", "53100", "53300", "25006", "57P01", "57P03")),
        *((code, Trouble.BUSY) for code in ("53200", "53400", "40001", "40P01")),
        *((code, Trouble.SLOW) for code in ("55P03", "57014", "25P04")),
        ("25P03", Trouble.SILENT),
        *((code, Trouble.OTHER) for code in ("23505", "42P01", "22012", "P0001", "25P02")),
    ],
)
def test_the_servers_code_tells_the_trouble(code: str, trouble: Trouble, engine: Open) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = '{code}'; END $$"

    with pytest.raises(DBAPIError) as raised:
        ask(engine(), statement)

    assert classify(raised.value) is trouble
    assert raised.value.orig is not None
    assert classify(raised.value.orig) is trouble


def test_a_server_that_is_down_is_away(engine: Open, nobody: str) -> None:
    with pytest.raises(SQLAlchemyError) as raised:
        ask(engine(postgres_url=f"postgresql://{nobody}/x"), "SELECT 1")

    assert classify(raised.value) is Trouble.AWAY


def test_a_bare_error_of_the_driver_is_understood_as_well(nobody: str) -> None:
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(f"postgresql://{nobody}/x")

    assert classify(raised.value) is Trouble.AWAY


def test_a_connection_lost_in_a_transaction_is_away_and_stays_so_until_the_rollback(engine: Open) -> None:
    ours, other = engine(), engine()

    with ours.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        ask(other, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
        with pytest.raises(DBAPIError) as first:
            connection.execute(text("SELECT 1"))
        with pytest.raises(PendingRollbackError) as second:
            connection.execute(text("SELECT 1"))

    assert classify(first.value) is Trouble.AWAY
    assert classify(second.value) is Trouble.AWAY


def test_a_transaction_that_was_silent_for_too_long_is_known_and_its_locks_are_gone(engine: Open) -> None:
    ours, other = engine(), engine()

    with ours.connect() as connection:
        connection.execute(text("SET idle_in_transaction_session_timeout = '20ms'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": uuid4().time_low})
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        wait_for_end(other, pid)
        with pytest.raises(DBAPIError) as raised:
            connection.execute(text("SELECT 1"))

    assert classify(raised.value) is Trouble.SILENT


def wait_for_end(engine: Engine, pid: object) -> None:
    deadline = time.monotonic() + 10
    while ask(engine, "SELECT count(*) FROM pg_stat_activity WHERE pid = :pid", pid=pid):
        assert time.monotonic() < deadline, "the session is still there"


def test_a_lock_that_another_holds_for_too_long_is_slow(engine: Open) -> None:
    ours = engine()
    key = {"key": uuid4().time_low}
    lock = text("SELECT pg_advisory_xact_lock(:key)")

    with ours.connect() as holder, ours.connect() as waiter:
        holder.execute(lock, key)
        waiter.execute(text("SET LOCAL lock_timeout = '10ms'"))
        with pytest.raises(DBAPIError) as raised:
            waiter.execute(lock, key)

    assert classify(raised.value) is Trouble.SLOW


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("y")])
def test_an_error_that_is_not_the_databases_is_other(error: Exception) -> None:
    assert classify(error) is Trouble.OTHER


# Opening


def test_opening_needs_no_server(settings: MakeSettings, nobody: str) -> None:
    down = settings(
        postgres_url=f"postgresql://{nobody}/x", mongo_url=f"mongodb://{nobody}/x", redis_url=f"redis://{nobody}/0"
    )

    open_engine(down).dispose()
    open_mongo(down).close()
    open_redis(down).close()


@pytest.mark.parametrize(
    ("name", "url", "opening"),
    [
        ("postgres", "postgresql://u:canary@h:port/db?nonsense=1", open_engine),
        ("mongo", "mongodb://u:canary@h:port/db", open_mongo),
        ("redis", "redis://:canary@h:port/0", open_redis),
    ],
)
def test_a_url_that_a_client_cannot_read_is_named_and_not_shown(
    name: str, url: str, opening: Callable[[Settings], object], settings: MakeSettings
) -> None:
    with pytest.raises(WrongSettings, match=f"TRIVET_{name.upper()}_URL is wrong") as raised:
        opening(settings(**{f"{name}_url": url}))

    assert "canary" not in str(raised.value)


def test_no_client_shows_its_password(settings: MakeSettings, nobody: str) -> None:
    secret = settings(
        postgres_url=f"postgresql://u:canary@{nobody}/x",
        mongo_url=f"mongodb://u:canary@{nobody}/x",
        redis_url=f"redis://u:canary@{nobody}/0",
    )
    engine, mongo, redis = open_engine(secret), open_mongo(secret), open_redis(secret)

    shown = f"{engine!r} {engine.pool!r} {mongo!r} {redis!r}"

    engine.dispose()
    mongo.close()
    redis.close()
    assert "canary" not in shown


# MongoDB


@pytest.mark.parametrize(("path", "name"), [("/elsewhere", "elsewhere"), ("/", "trivet"), ("", "trivet")])
def test_the_database_is_the_one_in_the_url_or_else_trivet(
    path: str, name: str, settings: MakeSettings, nobody: str
) -> None:
    changed = settings(mongo_url=f"mongodb://{nobody}{path}")

    with closing(open_mongo(changed)) as client:
        assert database(client, changed).name == name


def test_a_write_waits_for_the_majority_whatever_the_url_says(servers: Urls, settings: MakeSettings) -> None:
    changed = settings(mongo_url=f"{servers.mongo}{'&' if '?' in servers.mongo else '/?'}w=0&journal=false")

    with closing(open_mongo(changed)) as client:
        concern = database(client, changed).write_concern.document

    assert concern == {"w": "majority", "j": True, "wtimeout": 5_000}


def test_ids_and_times_come_back_as_they_went(settings: MakeSettings) -> None:
    written = {"_id": uuid4(), "time": datetime(2024, 2, 29, 12, tzinfo=UTC)}

    with closing(open_mongo(settings())) as client:
        collection = database(client, settings())[f"test_{uuid4().hex}"]
        collection.insert_one(written)
        read = collection.find_one({})
        collection.drop()

    assert read == written


def test_a_mongodb_that_is_down_is_given_up_on_after_two_seconds(settings: MakeSettings, nobody: str) -> None:
    with closing(open_mongo(settings(mongo_url=f"mongodb://{nobody}/x"))) as client:
        started = time.monotonic()
        with pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("ping")

    assert 1.5 < time.monotonic() - started < 4


# Redis


def test_redis_answers_in_bytes_and_knows_who_asks(settings: MakeSettings) -> None:
    with closing(open_redis(settings(), client_name="trivet-test")) as client:
        assert client.echo("ä") == "ä".encode()
        assert client.client_getname() == b"trivet-test"


def test_a_connection_that_redis_closed_is_replaced_before_use(settings: MakeSettings) -> None:
    with closing(open_redis(settings())) as ours, closing(open_redis(settings())) as other:
        before = ours.client_id()
        other.client_kill_filter(_id=str(before))

        assert ours.client_id() != before


def test_a_command_whose_answer_was_lost_is_not_repeated(servers: Urls, settings: MakeSettings) -> None:
    hasty = settings(redis_url=f"{servers.redis}{'&' if '?' in servers.redis else '?'}socket_timeout=0.05")
    key = f"test:{uuid4()}"
    count_slowly = """
        redis.call('INCR', KEYS[1])
        local start = redis.call('TIME')
        repeat
            local now = redis.call('TIME')
        until (now[1] - start[1]) * 1000000 + (now[2] - start[2]) > 200000
    """

    with closing(open_redis(hasty)) as client, pytest.raises(RedisTimeoutError):
        client.eval(count_slowly, 1, key)

    with closing(open_redis(settings())) as client:
        assert client.getdel(key) == b"1"


def test_a_redis_that_is_down_is_reported_at_once(settings: MakeSettings, nobody: str) -> None:
    with closing(open_redis(settings(redis_url=f"redis://{nobody}/0"))) as client:
        started = time.monotonic()
        with pytest.raises(RedisConnectionError):
            client.ping()

    assert time.monotonic() - started < 2
