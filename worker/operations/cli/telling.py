"""How a job is told on a terminal: its story in full, times, errors and JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.json import JSON
from rich.table import Column, Table
from rich.text import Text

from worker.errors import Outcome
from worker.operations.jobs import Owed, Story

COLOURS = {
    Outcome.ACCEPTED: "blue",
    Outcome.RETRYING: "cyan",
    Outcome.SUCCEEDED: "green",
    Outcome.REJECTED: "yellow",
    Outcome.PARKED: "red",
}


def pretty_json(data: Any) -> Text:
    """JSON in colours that is wrapped, not cut, where a line is too long."""
    text = JSON.from_data(data, indent=2).text
    text.no_wrap, text.overflow = False, "fold"
    return text


def plain(text: str) -> Text:
    """Text that a stranger may have sent: nothing in it steers the terminal."""
    return Text("".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text))


def as_json(told: Any) -> str:
    """Indented JSON, times in UTC."""
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode()


def in_full(story: Story, now: datetime) -> RenderableType:
    """All that is known about a job."""
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
        facts.add_row("task id", plain(story.task_id))
    facts.add_row("task", plain(story.task))
    facts.add_row("state", Text(story.state, style=f"bold {COLOURS[story.state]}"))
    if story.subject:
        facts.add_row("subject", Text(story.subject))
    failed = f", in {story.failures} its own code failed" if story.failures else ""
    facts.add_row("attempts", f"{story.attempts}{failed}")
    if story.replays:
        facts.add_row("replayed", f"{story.replays} times" if story.replays > 1 else "once")
    facts.add_row("first seen", _time(story.first_seen, now))
    if not story.state.ended:
        facts.add_row("deadline", _time(story.deadline, now))
    if story.due_at:
        facts.add_row("due", _time(story.due_at, now))
    if story.ended_at:
        facts.add_row("ended", _time(story.ended_at, now))
    if story.dropped_at:
        facts.add_row("dropped", _time(story.dropped_at, now))
    if story.data is not None:
        facts.add_row("result" if story.state is Outcome.SUCCEEDED else "reason", pretty_json(story.data))
    if story.last_error:
        facts.add_row("last error", plain(story.last_error.strip()))
    return facts


def _owes(owes: Sequence[Owed], now: datetime) -> Table:
    table = Table("lane", "since", "tried", Column("what", overflow="fold"), box=SIMPLE_HEAD, show_edge=False)
    for owed in owes:
        effects = [f"{kind} {count}" for kind, count in owed.effects.items()]
        what = [*owed.documents, *effects, *([f"event {owed.event}"] if owed.event else [])]
        since = f"{span(now - owed.owed_since)} ago"
        table.add_row(owed.lane, since, str(owed.attempts), Text("\n").join([_waits(owed, now), *map(Text, what)]))
    return table


def _waits(owed: Owed, now: datetime) -> Text:
    if owed.parked_at:
        waits = Text("parked", style="red")
    elif owed.due_at:
        waits = Text(due(owed.due_at, now), style="cyan")
    else:
        waits = Text("on its way")
    return waits.append(f": {owed.error}") if owed.error else waits


def _history(story: Story) -> Table:
    table = Table("at (UTC)", Column("error", overflow="fold"), box=SIMPLE_HEAD, show_edge=False)
    for failure in story.history:
        table.add_row(f"{failure.at:%Y-%m-%d %H:%M:%S}", plain(failure.error.strip().splitlines()[-1]))
    return table


def _conflicts(story: Story) -> Table:
    table = Table("at (UTC)", Column("task id", overflow="fold"), "SHA-256", box=SIMPLE_HEAD, show_edge=False)
    for conflict in story.conflicts:
        table.add_row(f"{conflict.seen_at:%Y-%m-%d %H:%M:%S}", plain(conflict.task_id), f"{conflict.digest[:8]}…")
    return table


def _time(time: datetime, now: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {due(time, now)}"


def due(time: datetime, now: datetime) -> str:
    """How far away a time is: `in 3m`, `2d ago`."""
    return f"in {span(time - now)}" if time > now else f"{span(now - time)} ago"


def span(span: timedelta) -> str:
    """A length of time in its largest unit: `40s`, `3m`, `5h`, `2d`."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
