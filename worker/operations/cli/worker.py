"""`trivet worker`: one node, a main process that gathers batches and the pool that runs them."""

import os
import socket
from typing import Annotated

import typer

from worker.operations.health import refuse_unsafe
from worker.operations.logs import configure_logs
from worker.settings import read_settings


def register(app: typer.Typer) -> None:
    """Add the command `worker` to `app`."""
    app.command()(worker)


def worker(
    *,
    concurrency: Annotated[int, typer.Option(min=1, help="Pool processes.")] = os.cpu_count() or 1,
    queues: Annotated[
        str, typer.Option(help="Queues to take jobs from, with commas; all of ours by default.")
    ] = "",
    name: Annotated[str, typer.Option(help="The node's name in Flower and inspect.")] = "",
    task_events: Annotated[
        bool, typer.Option("--task-events", "-E", help="Send Celery's task events from the start, for Flower.")
    ] = False,
) -> None:
    """Run one worker node in the foreground. It waits for stores that are away, and ends cleanly on Ctrl-C.

    Example: trivet worker --concurrency 4 --queues accounts,users
    """
    settings = read_settings()
    configure_logs(settings, role="worker")
    refuse_unsafe(settings)
    from worker.app import QUEUES, app  # noqa: PLC0415 - reads the settings when it is imported

    arguments = [
        "worker",
        f"--concurrency={concurrency}",
        f"--queues={queues or ','.join(QUEUES)}",
        f"--hostname={name or f'trivet-{os.getpid()}'}@{socket.gethostname()}",
        "--pool=prefork",
        "--without-gossip",
        "--without-mingle",
        *(["--task-events"] if task_events else []),
    ]  # fmt: skip
    try:
        app.worker_main(arguments)
    finally:
        app.leave()  # also after a cold shutdown, of which Celery does not tell
    raise typer.Exit(app.exit_code)
