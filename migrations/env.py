"""Runs the migrations; Alembic executes this file."""

from importlib import import_module
from pkgutil import iter_modules

from alembic import context
from sqlalchemy import Connection, text

import tasks.model as business
from tasks.model import Base
from worker.stores.schema import SCHEMA, metadata

# The tables of the runtime stand beside the code that uses them.
for module in ("delivery.outbox", "delivery.shards", "execution.ledger", "execution.sends", "execution.ticks"):
    import_module(f"worker.{module}")
for found in iter_modules(business.__path__):
    import_module(f"{business.__name__}.{found.name}")


def run(connection: Connection) -> None:
    """Run each migration in its own transaction; one that waits for a lock gives up soon and harms no traffic."""
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=[metadata, Base.metadata],
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _parent: kind != "schema" or name in {None, SCHEMA},
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
