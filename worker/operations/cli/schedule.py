"""`trivet schedule`: the jobs that beat enqueues by itself, and one of them by hand."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from worker.execution.job import JOBS
from worker.execution.ticks import Entry, read_entries
from worker.operations.cli.ledger import AsJson, open_ledger
from worker.operations.cli.telling import as_json as json_of
from worker.operations.cli.telling import due
from worker.operations.scheduled import Scheduled, list_entries, run_by_hand


def register(app: typer.Typer) -> None:
    """Add the commands `schedule ls | run` to `app`."""
    schedule = typer.Typer(
        help="Scheduled jobs: what is due when; run one by hand.\n\nExample: trivet schedule ls",
        no_args_is_help=True,
    )
    schedule.command()(ls)
    schedule.command()(run)
    app.add_typer(schedule, name="schedule")


def ls(*, as_json: AsJson = False) -> None:
    """List the scheduled jobs: task, when, last and next tick (UTC), and what becomes of missed ticks.

    It asks PostgreSQL, so beat need not run. A next tick in the past is one that no beat has taken yet.

    Example: trivet schedule ls
    """
    with open_ledger("schedule") as engine:
        now, found = list_entries(engine, _entries())
    if as_json:
        print(json_of(found))
    else:
        Console().print(_table(found, now))


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The entry's name, as `schedule ls` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Enqueue a scheduled job now, and print its id. The ticks of its schedule go on as if nothing had happened.

    Example: trivet schedule run maintenance.expire_holds
    """
    with open_ledger("schedule") as engine:
        job_id = run_by_hand(engine, _entries(), name)
    print(json_of({"id": job_id, "name": name}) if as_json else job_id)


def _entries() -> dict[str, Entry]:
    import worker.app  # noqa: F401, PLC0415 - imports the task modules, which declare the jobs

    return read_entries(JOBS.values())


def _table(found: Sequence[Scheduled], now: datetime) -> Table:
    table = Table(
        Column("name", overflow="fold"),
        Column("task, if named otherwise", overflow="fold"),
        Column("when (UTC)", no_wrap=True),
        Column("last tick", no_wrap=True),
        Column("next tick", no_wrap=True),
        Column("missed", no_wrap=True),
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for one in found:
        last = due(one.last_tick, now) if one.last_tick else "–"
        late = "yellow" if one.next_tick <= now else ""
        task = one.task if one.task != one.name else ""
        table.add_row(one.name, task, one.when, last, Text(due(one.next_tick, now), style=late), one.catch_up)
    return table
