"""Several statements in one round trip: a job that runs alone waits a third of a millisecond for each trip.

libpq's pipeline mode: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from sqlalchemy import Connection
from sqlalchemy.orm import Session


@contextmanager
def one_round_trip(session: Session) -> Iterator[None]:
    """Send the statements inside at once, and wait once for all of them; none may return rows.

    What is wrong with one of them is raised at the end, as psycopg's own error, and those behind it were not run.
    """
    with _driver(session.connection()).pipeline():
        yield


@contextmanager
def with_commit(connection: Connection) -> Iterator[None]:
    """Send the statements inside and the commit that ends their transaction in one round trip.

    As `one_round_trip`; when one fails, nothing is committed. The transaction's own commit has nothing left to do.
    """
    driver = _driver(connection)
    with driver.pipeline():
        yield
        driver.execute("COMMIT")


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
