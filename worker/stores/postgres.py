"""PostgreSQL: the engine with its pool and timeouts, and how long each query took."""

import logging
import math
import select
import time
from collections.abc import Callable
from typing import Any, Final, Self, cast

import structlog
from psycopg import Connection, Cursor, Error, OperationalError
from psycopg.abc import Query
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import PipelineStatus
from psycopg.rows import TupleRow
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from worker.errors import WrongSettings
from worker.settings import Settings
from worker.stores.arrays import register

QUERY = "query"
SLOW_QUERY = "query.slow"
STATEMENT_MAX = 2_000
"""Characters of a statement that a log event keeps."""

FRESH_S: Final = 1.0
"""A connection that was used so lately, and is silent since, is taken as it is: links rarely break unheard."""


def open_engine(settings: Settings, *, application_name: str = "trivet") -> Engine:
    """Make the engine of this process: open it after fork, and `dispose()` of it at the end.

    No connection is made before the first one is asked for. At most `pool_max` are open, and asking for one
    more waits for `pool_timeout_s`. Whether each query is logged is decided here: configure the logs first.
    Raises `WrongSettings` when the URL cannot be read.
    """
    engine = create_engine(
        # The URL itself goes to libpq, which knows all of its forms (several hosts, sockets, service files),
        # and so no repr of the engine can show the password.
        "postgresql+psycopg://",
        connect_args={
            **connect_args(settings, application_name),
            "cursor_factory": _timed_cursor(settings.slow_query_ms),
        },
        hide_parameters=True,  # values belong neither in an error text nor in a log
        poolclass=QueuePool,
        pool_size=settings.pool_max,
        max_overflow=0,
        pool_timeout=settings.pool_timeout_s,
        pool_use_lifo=True,  # the few that are needed stay warm; the others grow idle and are replaced
    )
    _know_arrays(engine)
    _replace_stale(engine, settings.pool_idle_s)
    return engine


def connect_args(settings: Settings, application_name: str) -> dict[str, Any]:
    """What libpq is told: the URL's own parameters, ours where it is silent, and always our timeouts.

    The timeouts come last in `options` and so win over the URL's: leases are safe only while they hold.
    """
    try:
        given = conninfo_to_dict(settings.postgres_url.get_secret_value())
    except Error:  # its text may quote the URL
        raise WrongSettings("TRIVET_POSTGRES_URL is wrong: PostgreSQL's client cannot read it") from None
    ours = {
        "application_name": application_name,
        "connect_timeout": math.ceil(settings.pool_timeout_s),
        # A half-open link is noticed within the time that a frozen transaction may hold its locks.
        "keepalives_idle": max(1, math.floor(settings.frozen_timeout_s / 2)),
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": _ms(settings.frozen_timeout_s),
    }
    return {**ours, **given, "options": f"{given.get('options') or ''} {_session(settings)}".strip()}


def _session(settings: Settings) -> str:
    wanted = {
        "statement_timeout": _ms(settings.statement_timeout_s),
        "lock_timeout": _ms(settings.frozen_timeout_s),
        "idle_in_transaction_session_timeout": _ms(settings.frozen_timeout_s),
        "timezone": "UTC",
        # By default a user named trivet would find the schema trivet before public, and any other would not.
        "search_path": "public",
    }
    return " ".join(f"-c {name}={value}" for name, value in wanted.items())


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1_000)


def _know_arrays(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def teach(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        register(cast("Connection[Any]", connection))


def _replace_stale(engine: Engine, idle_max_s: float) -> None:
    """Have the pool replace, when it is asked for it, one that is dead, unfinished or was idle for too long."""

    @event.listens_for(engine, "checkin")
    def rest(_connection: object, entry: ConnectionPoolEntry) -> None:
        entry.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def wake(connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: object) -> None:
        idle_since = entry.info.get("idle_since")
        idle_s = 0 if idle_since is None else time.monotonic() - idle_since
        if idle_s > idle_max_s:
            raise DisconnectionError("idle for too long")  # the pool connects anew; `info` starts empty
        if _is_unfinished(cast("Connection[Any]", connection)):
            raise DisconnectionError("left by an interruption in the middle of a round trip")
        # `pool_pre_ping` would ask each time, which a job that runs alone waits for twice.
        if idle_s > FRESH_S or has_news(cast("Connection[Any]", connection)):
            _ask(engine, connection)


def _is_unfinished(connection: "Connection[Any]") -> bool:
    return connection.autocommit or connection.pgconn.pipeline_status != PipelineStatus.OFF


def has_news(connection: "Connection[Any]") -> bool:
    """Whether the server has sent anything meanwhile: as a rule that it ended the session. No round trip."""
    poller = select.poll()
    try:
        poller.register(connection.fileno(), select.POLLIN)
    except OperationalError:  # closed on our side
        return True
    return bool(poller.poll(0))


def _ask(engine: Engine, connection: DBAPIConnection) -> None:
    """Raise `InvalidatePoolError` when the server does not answer: the pool then drops all that are as old."""
    try:
        engine.dialect.do_ping(connection)
    except Error as error:
        raise InvalidatePoolError from error


def _timed_cursor(slow_ms: float) -> type[Cursor[TupleRow]]:
    """Make cursors that log their queries: each at level debug, a slow one as a warning, none with its values.

    This is on the hot path, and costs two clock readings and a comparison unless there is something to log.
    (SQLAlchemy's own events around a query cost a seventh of a small one.) Server-side cursors are not timed.
    Statements of one round trip are timed together, by whoever sends them, with `report`; what is logged of each at
    level debug is the sending.
    """
    tell = _reporter(slow_ms)
    clock = time.perf_counter

    class Timed(Cursor[TupleRow]):
        report = staticmethod(tell)

        def execute(self, query: Query, *args: Any, **options: Any) -> Self:
            started = clock()
            try:
                return super().execute(query, *args, **options)
            finally:  # the slowest queries are those that a timeout ends
                tell((clock() - started) * 1_000, query, self.rowcount)

        def executemany(self, query: Query, *args: Any, **options: Any) -> None:
            started = clock()
            try:
                super().executemany(query, *args, **options)
            finally:
                tell((clock() - started) * 1_000, query, self.rowcount)

    return Timed


def _reporter(slow_ms: float) -> Callable[[float, Query, int], None]:
    log = structlog.get_logger()
    every = log.is_enabled_for(logging.DEBUG)

    def report(duration_ms: float, query: Query, rows: int) -> None:
        slow = duration_ms > slow_ms
        if not (slow or every):
            return
        statement = query.decode() if isinstance(query, bytes) else str(query)
        fields = {
            "duration_ms": round(duration_ms, 3),
            "rows": rows if rows >= 0 else None,
            "statement": " ".join(statement.split())[:STATEMENT_MAX],
        }
        if slow:
            log.warning(SLOW_QUERY, **fields)
        else:
            log.debug(QUERY, **fields)

    return report
