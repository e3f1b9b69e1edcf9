"""Several statements in one round trip: a job that runs alone waits a third of a millisecond for each trip.

libpq's pipeline mode: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session


@contextmanager
def one_round_trip(session: Session) -> Iterator[None]:
    """Send the statements inside at once, and wait once for all of them; none may return rows.

    So read before, and leave `RETURNING` away. None is timed: `query.slow` does not tell of them. Raises what is
    wrong with the first wrong one, at the end and as psycopg's own error; those behind it were not run.
    """
    with _in_the_drivers_words(), _driver(session.connection()).pipeline():
        yield


@contextmanager
def committing(connection: Connection) -> Iterator[None]:
    """Send the statements inside and the commit that ends their transaction in one round trip.

    As `one_round_trip`. The transaction's own commit has nothing left to do, and nothing may be written behind the
    block. Raises `psycopg.Error`: nothing is committed then, unless the link was lost; who runs it again must be
    able to tell, as the claim of a job is.
    """
    driver = _driver(connection)
    with _in_the_drivers_words(), driver.pipeline():
        yield
        driver.execute("COMMIT")


@contextmanager
def _in_the_drivers_words() -> Iterator[None]:
    """The error of a statement may come early, through SQLAlchemy, when the next one is sent."""
    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from error


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
