"""Several statements in one round trip: a job that runs alone waits a third of a millisecond for each trip."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple, cast

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from worker.stores.pipelines import abandon, pipeline_of, sending_ahead


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
            with connection.begin(), _ready_for_rollback(connection, driver):
                yield Begun(connection, _begin(driver, statements))
        finally:
            _leave(driver)


@contextmanager
def one_round_trip(session: Session) -> Iterator[None]:
    """Send the statements inside at once, and wait once for all of them; none may return rows.

    So read before, and leave `RETURNING` away. `query.slow` tells of them as one. Raises what is wrong with the
    first wrong one, at the end and as psycopg's own error; those behind it were not run.
    """
    driver = _driver(session.connection())
    with _in_the_drivers_words(), _timed(driver, "-- statements of one round trip"), pipeline_of(driver):
        yield


@contextmanager
def last_round_trip(session: Session) -> Iterator[None]:
    """As `one_round_trip`, for the last that a set-based body writes, and nobody waits for it.

    PostgreSQL works on it while the batch writes down its outcomes, and answers with the commit. Raises what is
    wrong, as a rule only then, and the batch starts again as if its body had raised it. Nothing else may be asked
    of the session behind it. Raises `InvalidRequestError` if the body ended the transaction.
    """
    driver = _driver(session.connection())
    _refuse_ended(driver)
    told = "-- sending the last statements of a body"
    with _in_the_drivers_words(), _timed(driver, told), sending_ahead(driver):
        yield


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
    with _in_the_drivers_words(), _timed(driver, "-- the last statements and COMMIT"), pipeline_of(driver):
        yield driver
        driver.execute("COMMIT")


@contextmanager
def _ready_for_rollback(connection: Connection, driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """After a failure, end an open pipeline, and tell SQLAlchemy of a lost link.

    Its rollback would fail otherwise, and hide what says why.
    """
    try:
        yield
    except BaseException as error:
        abandon(driver)
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
    with _timed(driver, f"BEGIN; {told}"), pipeline_of(driver):
        driver.execute("BEGIN")
        cursors = [driver.execute(statement.text, statement.values) for statement in statements]
    return [cursor.fetchall() for cursor in cursors]


def _refuse_ended(driver: "psycopg.Connection[Any]") -> None:
    if driver.autocommit and driver.info.transaction_status == TransactionStatus.IDLE:
        # Each statement would be a transaction of its own.
        raise InvalidRequestError("the transaction has been ended by a body: it must neither commit nor roll back")


def _leave(driver: "psycopg.Connection[Any]") -> None:
    """Give the connection back as others expect it; where that cannot be, nobody may get it."""
    ended = driver.info.transaction_status == TransactionStatus.IDLE
    if ended and driver.pgconn.pipeline_status == PipelineStatus.OFF:
        driver.autocommit = False
    else:
        driver.close()


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
