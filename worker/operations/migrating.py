"""Bring the database to the newest revision, and MongoDB's indexes to what the documents declare."""

import time
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

import migrations
from worker.delivery.effects import Document
from worker.stores.resources import Resources
from worker.stores.schema import SCHEMA

LOOK_EVERY_S: Final = 0.1
"""How often one who waits looks whether the other has migrated."""

_ONE_AT_A_TIME: Final = 0x7472_6D67  # the key of the advisory lock of whoever migrates


TOMBSTONES: Final = "tombstones"
"""The name of the index of tombstones by their versions."""


def migrate(given: Resources) -> tuple[str | None, str | None]:
    """Run all migrations that are due; returns the revisions before and after.

    Two that migrate at the same time wait for each other. The document classes must have been imported.
    """
    with given.engine.connect() as connection:
        connection.exec_driver_sql("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        connection.exec_driver_sql("SET lock_timeout = 0")
        _take_turn(connection)
        try:
            before = revision(connection)
            command.upgrade(alembic_config(connection), "head")
            after = revision(connection)
        finally:
            connection.rollback()
            connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (_ONE_AT_A_TIME,))
            connection.commit()
            connection.invalidate()  # its settings are not for the pool
    index_documents(given)
    return before, after


def _take_turn(connection: Connection) -> None:
    # Not by waiting inside a statement: an index that is made concurrently waits for all of those.
    while not connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (_ONE_AT_A_TIME,)).scalar_one():
        connection.commit()
        time.sleep(LOOK_EVERY_S)
    connection.commit()


def index_documents(given: Resources) -> None:
    """Create the indexes that the document classes declare; those that exist stay."""
    for kind in Document.kinds:
        for field in kind.indexes:
            given.documents[kind.collection].create_index(field)
    for collection in sorted(Document.swept):
        # Partial: who stores a document pays nothing for it.
        given.documents[collection].create_index(
            [("version", 1), ("_id", 1)], name=TOMBSTONES, partialFilterExpression={"deleted": True}
        )


def revision(connection: Connection) -> str | None:
    """The revision that the database is at, or None before the first."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    current = context.get_current_revision()
    connection.commit()
    return current


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file: the scripts lie in the package `migrations`."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config
