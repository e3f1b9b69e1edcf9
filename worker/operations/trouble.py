"""What PostgreSQL says to an operator who asks or orders, in words that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from worker.errors import StoreUnavailable, WrongSettings
from worker.redaction import redact
from worker.stores.postgres_errors import Trouble, classify


@contextmanager
def postgres_trouble() -> Iterator[None]:
    """Turn trouble with PostgreSQL into an error of ours.

    Raises `WrongSettings` for a database that is not migrated and for a login that may not do this,
    `StoreUnavailable` when there is no answer in time.
    """
    try:
        yield
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else None
        if isinstance(cause, UndefinedTable | UndefinedColumn):
            raise WrongSettings("this database has no ledger of this version: run `trivet migrate`") from error
        if isinstance(cause, InsufficientPrivilege):
            first, *_ = f"{cause}\n".splitlines()
            raise WrongSettings(
                f"PostgreSQL does not let this login do that ({first}): set TRIVET_POSTGRES_URL to one that may"
            ) from error
        if classify(error) is not Trouble.OTHER:
            first, *_ = f"{cause or error}\n".splitlines()
            raise StoreUnavailable(f"PostgreSQL does not answer ({redact(first)}): see `trivet check`") from error
        raise
