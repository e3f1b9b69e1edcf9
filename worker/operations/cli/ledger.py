"""The ledger, as a command opens it, and the one job that an operator means."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import Engine

from worker.errors import TrivetError
from worker.operations.jobs import Story, find, tell
from worker.operations.logs import configure_logs
from worker.settings import read_settings
from worker.stores.postgres import open_engine

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
JobName = Annotated[str, typer.Argument(metavar="ID", help="A job id, a message's task id or a key.")]


class NoSuchJob(TrivetError):
    """The ledger has no job of this name, or several."""


@contextmanager
def open_ledger(role: str) -> Iterator[Engine]:
    """PostgreSQL, for the command of this name."""
    settings = read_settings()
    configure_logs(settings, role=role)
    engine = open_engine(settings, application_name=f"trivet-{role}")
    try:
        yield engine
    finally:
        engine.dispose()


def the_one(engine: Engine, name: str) -> Story:
    """The job that goes by this name. Raises `NoSuchJob` when there is none, or several."""
    from worker.app import app  # noqa: PLC0415 - reads the settings when it is imported

    found = find(engine, name, [task for task in app.tasks if not task.startswith("celery.")])
    if len(found) > 1:
        raise NoSuchJob(f"several jobs go by {name}; show one of them by its id: {', '.join(map(str, found))}")
    story = tell(engine, found[0]) if found else None
    if story is None:
        raise NoSuchJob(
            f"the ledger has no job {name}: it waits in its queue (`trivet queues ls`), never arrived,"
            " or ended longer ago than TRIVET_RETENTION_D"
        )
    return story
