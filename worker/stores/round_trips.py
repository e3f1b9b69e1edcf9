"""Several statements in one round trip: a job that runs alone waits a third of a millisecond for each trip.

libpq's pipeline mode: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, LiteralString, NamedTuple, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg.generators import send
from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from worker.stores.postgres import has_news


class Statement(NamedTuple):
    """A statement with psycopg's named placeholders, and what they stand for."""

    text: LiteralString
    values: Mapping[str, Any]


class Begun(NamedTuple):
    """A transaction that has begun, and the rows of each of its first statements."""

    connection: Connection
    rows: Sequence[Sequence[tuple[Any, ...]]]


@contextmanager
def begin_with(engine: Engine, *statements: Statement) -> Iterator[Begun]:
    """As `engine.begin()`, with `BEGIN` and its first statements, which all return rows, in one round trip.

    Raises what is wrong with the first wrong one, as psycopg's own error; those behind it were not run.
    """
    with engine.connect() as connection:
        driver = _driver(connection)
        try:
            driver.autocommit = True  # else psycopg begins by itself, and waits for that
            with connection.begin(), _told_of_loss(connection, driver):
                try:
                    yield Begun(connection, _begin(driver, statements))
                finally:
                    _abandon(driver)
        finally:
            _leave(driver)


@contextmanager
def one_round_trip(session: Session) -> Iterator[None]:
    """Send the statements inside at once, and wait once for all of them; none may return rows.

    So read before, and leave `RETURNING` away. `query.slow` tells of them as one. Raises what is wrong with the
    first wrong one, at the end and as psycopg's own error; those behind it were not run.
    """
    driver = _driver(session.connection())
    with _in_the_drivers_words(), _timed(driver, "-- statements of one round trip"), _pipeline(driver):
        yield


@contextmanager
def last_round_trip(session: Session) -> Iterator[None]:
    """As `one_round_trip`, for the last that a set-based body writes, and nobody waits for it.

    PostgreSQL works on it while the batch writes down its outcomes, and answers with the commit. Raises what is
    wrong, as a rule only then, and the batch starts again as if its body had raised it. Nothing else may be asked
    of the session behind it.
    """
    driver = _driver(session.connection())
    _refuse_ended(driver)
    with (
        _in_the_drivers_words(),
        _timed(driver, "-- sending the last statements of a body"),
        _interruptions_come_out(driver),
        ExitStack() as unless_sent,
    ):
        pipeline = unless_sent.enter_context(_open(driver))
        yield
        driver.wait(pipeline._send_gen())  # noqa: SLF001 - made by `_send_at_once`
        pipeline._communicate_gen = _refuse  # noqa: SLF001
        _sent_ahead[driver] = pipeline, unless_sent.pop_all()


@contextmanager
def committing(connection: Connection) -> Iterator["psycopg.Connection[Any]"]:
    """Send the statements inside and the commit that ends their transaction in one round trip.

    Yields psycopg's connection, to which a statement costs less than through SQLAlchemy.

    As `one_round_trip`; the answers to a `last_round_trip` come with it. The transaction's own commit has nothing
    left to do, and nothing may be written behind the block. Raises `psycopg.Error`: nothing is committed then,
    unless the link was lost; who runs it again must be able to tell, as the ledger of jobs does. Raises
    `InvalidRequestError` when somebody has rolled it back before.
    """
    driver = _driver(connection)
    _refuse_ended(driver)
    with _in_the_drivers_words(), _timed(driver, "-- the last statements and COMMIT"), _pipeline(driver):
        yield driver
        driver.execute("COMMIT")


@contextmanager
def _told_of_loss(connection: Connection, driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """Tell SQLAlchemy that the link is lost: its rollback would fail, and hide what says why."""
    try:
        yield
    except BaseException as error:
        if driver.closed:
            connection.invalidate(error)
        raise


@contextmanager
def _timed(driver: "psycopg.Connection[Any]", told: str) -> Iterator[None]:
    """Log how long a round trip took, as the cursors of the engine do for a statement."""
    started = time.perf_counter()
    try:
        yield
    finally:
        cast("Any", driver.cursor_factory).report((time.perf_counter() - started) * 1_000, told, -1)


@contextmanager
def _in_the_drivers_words() -> Iterator[None]:
    """What is wrong before anything is sent, a value or the link, comes through SQLAlchemy."""
    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from error


def _begin(driver: "psycopg.Connection[Any]", statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
    told = "; ".join(statement.text for statement in statements)
    with _timed(driver, f"BEGIN; {told}"), _pipeline(driver):
        driver.execute("BEGIN")
        cursors = [driver.execute(statement.text, statement.values) for statement in statements]
    return [cursor.fetchall() for cursor in cursors]


_sent_ahead: Final[WeakKeyDictionary["psycopg.Connection[Any]", tuple[Any, ExitStack]]] = WeakKeyDictionary()
"""The pipelines that are still open behind a `last_round_trip`."""


def _refuse_ended(driver: "psycopg.Connection[Any]") -> None:
    if driver.autocommit and driver.info.transaction_status == TransactionStatus.IDLE:
        # Each statement would be a transaction of its own.
        raise InvalidRequestError("the transaction has been ended by a body: it must neither commit nor roll back")


@contextmanager
def _pipeline(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """Psycopg's pipeline, ended as we need it; the one that is open still, if there is one."""
    with _interruptions_come_out(driver), _reopen(driver) if driver in _sent_ahead else _open(driver):
        yield


@contextmanager
def _open(driver: "psycopg.Connection[Any]") -> Iterator[Any]:
    if has_news(driver):
        # It raises what the server said when it ended the session: a pipeline passes over it.
        driver.execute("SELECT 1")
    with driver.pipeline() as pipeline:
        _send_at_once(pipeline)
        yield pipeline


@contextmanager
def _reopen(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    pipeline, ends = _sent_ahead.pop(driver)
    with ends:
        pipeline._communicate_gen = _hold_back  # noqa: SLF001
        yield


def _abandon(driver: "psycopg.Connection[Any]") -> None:
    """Wait for the answers that nobody wants any more: the transaction has failed for another reason."""
    if driver in _sent_ahead:
        with suppress(psycopg.Error), _pipeline(driver):
            pass


@contextmanager
def _interruptions_come_out(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """An interruption in a pipeline comes out as it is, and closes the connection."""
    try:
        yield
    except psycopg.OperationalError as error:
        interruption = error.__context__
        if driver.pgconn.pipeline_status == PipelineStatus.OFF or isinstance(interruption, psycopg.Error | None):
            raise
        driver.close()
        raise interruption from error


def _hold_back() -> Iterator[Any]:
    yield from ()


def _refuse() -> Iterator[Any]:
    yield from ()
    raise InvalidRequestError("nothing may be asked behind a last_round_trip")


def _send_at_once(pipeline: Any) -> None:
    """Let a pipeline send everything at its end, and end with a Sync: docs/decisions/0016.

    PostgreSQL watches for silence from the answer to a Sync until the next message of any kind. psycopg sends each
    statement when it comes, and a Flush behind the Sync: a process that froze then would keep its rows locked for
    ever. These are parts of psycopg by their names; `tests/integration/test_round_trips.py` holds them.
    """
    communicate = pipeline._communicate_gen  # noqa: SLF001

    def send_and_sync() -> Iterator[Any]:
        pipeline._enqueue_sync()  # noqa: SLF001
        yield from communicate()
        yield from send(pipeline.pgconn)  # what did not fit into the socket

    def sync_and_fetch() -> Iterator[Any]:
        try:
            yield from send_and_sync()
        except psycopg.Error:  # an answer that came while the rest was sent: those behind it only say that
            with suppress(psycopg.Error):
                yield from pipeline._fetch_gen(flush=False)  # noqa: SLF001
            raise
        yield from pipeline._fetch_gen(flush=False)  # noqa: SLF001

    pipeline._communicate_gen = _hold_back  # noqa: SLF001
    pipeline._send_gen = send_and_sync  # noqa: SLF001
    pipeline._sync_gen = pipeline._exit_gen = sync_and_fetch  # noqa: SLF001


def _leave(driver: "psycopg.Connection[Any]") -> None:
    """Give the connection back as others expect it; where that cannot be, nobody may get it."""
    ended = driver.info.transaction_status == TransactionStatus.IDLE
    if ended and driver.pgconn.pipeline_status == PipelineStatus.OFF:
        driver.autocommit = False
    else:
        driver.close()


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
