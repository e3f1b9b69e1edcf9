"""`trivet migrate`: bring PostgreSQL and MongoDB's indexes up to what this version needs."""

import json
from typing import Annotated

import typer

from worker.operations.health import refuse_unsafe
from worker.operations.logs import configure_logs
from worker.settings import read_settings
from worker.stores.resources import Resources


def register(app: typer.Typer) -> None:
    """Add the command `migrate` to `app`."""
    app.command()(migrate)


def migrate(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print the revisions as one JSON object.")] = False
) -> None:
    """Run the migrations that are due, and create MongoDB's indexes. Running it again changes nothing.

    Example: trivet migrate
    """
    settings = read_settings()
    configure_logs(settings, role="migrate")
    refuse_unsafe(settings)
    import worker.app  # noqa: F401, PLC0415 - imports the task modules, which declare the documents
    from worker.operations import migrating  # noqa: PLC0415 - Alembic is slow to import

    with Resources.open(settings) as given:
        before, after = migrating.migrate(given)
    if as_json:
        print(json.dumps({"before": before, "after": after}))
    else:
        print(f"migrated from {before or 'nothing'} to {after}" if before != after else f"nothing to do at {after}")
