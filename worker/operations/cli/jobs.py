"""`trivet jobs`: what became of one job, or of the newest ones."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from worker.errors import Outcome
from worker.operations.cli import telling
from worker.operations.cli.ledger import AsJson, JobName, open_ledger, the_one
from worker.operations.cli.telling import COLOURS, due, in_full, plain, span
from worker.operations.listing import Listed, newest


def register(app: typer.Typer) -> None:
    """Add `trivet jobs` with its sub-commands."""
    jobs = typer.Typer(
        help="What became of jobs.\n\nExample: trivet jobs ls --state rejected", no_args_is_help=True
    )
    jobs.command()(show)
    jobs.command()(ls)
    app.add_typer(jobs, name="jobs")


def show(
    name: JobName,
    *,
    as_json: AsJson = False,
) -> None:
    """Show one job: its state, attempts, result or error, times, and what it still owes.

    Example: trivet jobs show order-42
    """
    with open_ledger("jobs") as engine:
        story = the_one(engine, name)
    if as_json:
        print(telling.as_json(story))
    else:
        Console().print(in_full(story, datetime.now(UTC)))


def ls(
    *,
    state: Annotated[Outcome | None, typer.Option(help="Only jobs in this state.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task; * and ? stand for others.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first: by when they ended, and else by when they were first seen.

    A job that still lies in its queue is not in the ledger yet.

    Example: trivet jobs ls --state rejected --task "accounts.*"
    """
    with open_ledger("jobs") as engine:
        found = newest(engine, state=state, task=task, limit=limit)
    if as_json:
        print(telling.as_json(found))
    else:
        Console().print(_table(found, datetime.now(UTC)))


def _table(found: Sequence[Listed], now: datetime) -> Table:
    table = Table(
        Column("ago", justify="right", no_wrap=True),
        Column("job", no_wrap=True),
        Column("task", overflow="fold"),
        Column("state", overflow="fold"),
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for job in found:
        ago = span(now - (job.ended_at or job.first_seen))
        table.add_row(ago, str(job.id), plain(job.task), _state(job, now))
    return table


def _state(job: Listed, now: datetime) -> Text:
    shown = Text(job.state, style=COLOURS[job.state])
    match job.state:
        case Outcome.REJECTED | Outcome.PARKED:
            shown.append(f" {job.code}", style="default")
        case Outcome.RETRYING if job.due_at is not None:
            shown.append(f" {job.attempts} tried, {due(job.due_at, now)}", style="default")
    return shown
