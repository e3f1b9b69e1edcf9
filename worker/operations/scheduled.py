"""The entries of the schedule, as an operator sees them, and one of them enqueued by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from worker.errors import TrivetError
from worker.execution.accepting import accept
from worker.execution.ticks import Entry, read_settled
from worker.operations.trouble import postgres_trouble


class NoSuchSchedule(TrivetError):
    """No entry of the schedule has this name."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One entry: `last_tick` and its job are None before the first; a `next_tick` that has passed is still due."""

    name: str
    task: str
    when: str
    last_tick: datetime | None
    last_job: UUID | None
    next_tick: datetime
    catch_up: str
    payload: Any


def list_entries(engine: Engine, entries: Mapping[str, Entry]) -> tuple[datetime, list[Scheduled]]:
    """The time on PostgreSQL's clock, and every entry with its last and next tick, by name."""
    with postgres_trouble(), engine.connect() as connection:
        now, known = read_settled(connection)
    found = []
    for name, entry in sorted(entries.items()):
        seen, schedule = known.get(name), entry.schedule
        found.append(
            Scheduled(
                name,
                entry.job.name,
                str(schedule.when),
                seen.last_tick if seen else None,
                seen.last_job if seen else None,
                schedule.when.after(seen.settled_to if seen else now),
                schedule.catch_up,
                entry.fields,
            )
        )
    return now, found


def run_by_hand(engine: Engine, entries: Mapping[str, Entry], name: str) -> UUID:
    """Enqueue an entry's job now, under an id of its own; returns that. Raises `NoSuchSchedule`."""
    entry = entries.get(name)
    if entry is None:
        similar = get_close_matches(name, entries, n=3) or sorted(entries)
        raise NoSuchSchedule(f"no schedule is named {name}; there is {', '.join(similar) or 'none'}")
    attempt = entry.compose(None)
    with postgres_trouble(), engine.begin() as connection:
        accept(connection, attempt, None)
    return attempt.job_id
