"""`trivet beat`: enqueue the jobs that have a schedule."""

from pathlib import Path
from typing import Annotated

import typer

from worker.operations.health import refuse_unsafe
from worker.operations.logs import configure_logs
from worker.settings import read_settings


def register(app: typer.Typer) -> None:
    """Add the command `beat` to `app`."""
    app.command()(beat)


def beat(
    *,
    heartbeat: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Touch this file at least every 5 s, while all is well: to lead or to stand by."
        ),
    ] = None,
) -> None:
    """Enqueue scheduled jobs when it is time, in the foreground. Run two: one leads, the other stands by.

    A tick is taken once, whatever happens to beats and stores. It waits for stores that are away, and ends
    cleanly on Ctrl-C.

    Example: trivet beat --heartbeat /tmp/beat
    """
    settings = read_settings()
    configure_logs(settings, role="beat")
    refuse_unsafe(settings)
    from worker.app import app  # noqa: PLC0415 - reads the settings when it is imported
    from worker.operations.schedule import run_beat  # noqa: PLC0415 - as above

    run_beat(app, heartbeat)
