"""`trivet jobs`: what became of one job, or of the newest ones."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.json import JSON
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy import Engine

from worker.errors import Outcome, TrivetError
from worker.operations.jobs import Listed, Owed, Story, find, newest, tell
from worker.operations.logs import configure_logs
from worker.settings import read_settings
from worker.stores.postgres import open_engine

COLOURS = {
    Outcome.ACCEPTED: "blue",
    Outcome.RETRYING: "cyan",
    Outcome.SUCCEEDED: "green",
    Outcome.REJECTED: "yellow",
    Outcome.PARKED: "red",
}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class NoSuchJob(TrivetError):
    """The ledger has no job of this name, or several."""


def register(app: typer.Typer) -> None:
    """Add `trivet jobs` with its sub-commands."""
    jobs = typer.Typer(
        help="What became of jobs.\n\nExample: trivet jobs ls --state rejected", no_args_is_help=True
    )
    jobs.command()(show)
    jobs.command()(ls)
    app.add_typer(jobs, name="jobs")


def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="A job id, a message's task id or a key.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one job: its state, attempts, result or error, times, and what it still owes.

    Example: trivet jobs show order-42
    """
    engine = _engine()
    from worker.app import app  # noqa: PLC0415 - reads the settings when it is imported

    try:
        story = _the_one(engine, name, [task for task in app.tasks if not task.startswith("celery.")])
    finally:
        engine.dispose()
    if as_json:
        print(orjson.dumps(story, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())
    else:
        Console().print(_in_full(story, datetime.now(UTC)))


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
    engine = _engine()
    try:
        found = newest(engine, state=state, task=task, limit=limit)
    finally:
        engine.dispose()
    if as_json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())
    else:
        Console().print(_table(found, datetime.now(UTC)))


def pretty_json(data: Any) -> Text:
    """JSON in colours that is wrapped, not cut, where a line is too long."""
    text = JSON.from_data(data, indent=2).text
    text.no_wrap, text.overflow = False, "fold"
    return text


def _engine() -> Engine:
    settings = read_settings()
    configure_logs(settings, role="jobs")
    return open_engine(settings, application_name="trivet-jobs")


def _the_one(engine: Engine, name: str, tasks: Sequence[str]) -> Story:
    found = find(engine, name, tasks)
    if len(found) > 1:
        raise NoSuchJob(f"several jobs go by {name}; show one of them by its id: {', '.join(map(str, found))}")
    story = tell(engine, found[0]) if found else None
    if story is None:
        raise NoSuchJob(
            f"the ledger has no job {name}: it waits in its queue (`trivet queues ls`), never arrived,"
            " or ended longer ago than TRIVET_RETENTION_D"
        )
    return story


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
        ago = _span(now - (job.ended_at or job.first_seen))
        table.add_row(ago, str(job.id), Text(job.task), _state(job, now))
    return table


def _state(job: Listed, now: datetime) -> Text:
    shown = Text(job.state, style=COLOURS[job.state])
    match job.state:
        case Outcome.REJECTED | Outcome.PARKED:
            shown.append(f" {job.code}", style="default")
        case Outcome.RETRYING if job.due_at is not None:
            shown.append(f" {job.attempts} tried, {_due(job.due_at, now)}", style="default")
    return shown


def _in_full(story: Story, now: datetime) -> RenderableType:
    parts: list[RenderableType] = [_facts(story, now)]
    if story.owes:
        parts += ["\n[bold]still owes[/]", _owes(story.owes, now)]
    if story.history:
        parts += ["\n[bold]attempts that failed[/]", _history(story)]
    if story.conflicts:
        parts += ["\n[bold]refused: other payloads under the same id[/]", _conflicts(story)]
    return Group(*parts)


def _facts(story: Story, now: datetime) -> Table:
    facts = Table.grid(Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    facts.add_row("job", Text(str(story.id)))
    if story.task_id != str(story.id):
        facts.add_row("task id", Text(story.task_id))
    facts.add_row("task", Text(story.task))
    facts.add_row("state", Text(story.state, style=f"bold {COLOURS[story.state]}"))
    if story.subject:
        facts.add_row("subject", Text(story.subject))
    failed = f", in {story.failures} its own code failed" if story.failures else ""
    facts.add_row("attempts", f"{story.attempts}{failed}")
    facts.add_row("first seen", _time(story.first_seen, now))
    if not story.state.ended:
        facts.add_row("deadline", _time(story.deadline, now))
    if story.due_at:
        facts.add_row("due", _time(story.due_at, now))
    if story.ended_at:
        facts.add_row("ended", _time(story.ended_at, now))
    if story.data is not None:
        facts.add_row("result" if story.state is Outcome.SUCCEEDED else "reason", pretty_json(story.data))
    if story.last_error:
        facts.add_row("last error", Text(story.last_error.strip()))
    return facts


def _owes(owes: Sequence[Owed], now: datetime) -> Table:
    table = Table("lane", "since", "tried", Column("what", overflow="fold"), box=SIMPLE_HEAD, show_edge=False)
    for owed in owes:
        effects = [f"{kind} {count}" for kind, count in owed.effects.items()]
        what = [*owed.documents, *effects, *([f"event {owed.event}"] if owed.event else [])]
        since = f"{_span(now - owed.owed_since)} ago"
        table.add_row(owed.lane, since, str(owed.attempts), Text("\n").join([_waits(owed, now), *map(Text, what)]))
    return table


def _waits(owed: Owed, now: datetime) -> Text:
    if owed.parked_at:
        waits = Text("parked", style="red")
    elif owed.due_at:
        waits = Text(_due(owed.due_at, now), style="cyan")
    else:
        waits = Text("on its way")
    return waits.append(f": {owed.error}") if owed.error else waits


def _history(story: Story) -> Table:
    table = Table("at (UTC)", Column("error", overflow="fold"), box=SIMPLE_HEAD, show_edge=False)
    for failure in story.history:
        table.add_row(f"{failure.at:%Y-%m-%d %H:%M:%S}", Text(failure.error.strip().splitlines()[-1]))
    return table


def _conflicts(story: Story) -> Table:
    table = Table("at (UTC)", Column("task id", overflow="fold"), "SHA-256", box=SIMPLE_HEAD, show_edge=False)
    for conflict in story.conflicts:
        table.add_row(f"{conflict.seen_at:%Y-%m-%d %H:%M:%S}", Text(conflict.task_id), f"{conflict.digest[:8]}…")
    return table


def _time(time: datetime, now: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {_due(time, now)}"


def _due(time: datetime, now: datetime) -> str:
    return f"in {_span(time - now)}" if time > now else f"{_span(now - time)} ago"


def _span(span: timedelta) -> str:
    """A length of time in its largest unit: `40s`, `3m`, `5h`, `2d`."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
