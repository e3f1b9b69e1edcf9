"""Ticks: the entries of the schedule, and a memory in PostgreSQL of how far each has come.

A tick is taken in one transaction: its job is written into the ledger, and the entry is settled up to it. The job's
id derives from entry and tick, and the entry's row is locked, so that any number of beats take a tick once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Column, Connection, DateTime, Table, Text, Uuid

from worker.crash_points import crash_point
from worker.errors import IdempotencyConflict, Rejected, TrivetError
from worker.execution.accepting import accept
from worker.execution.attempt import Attempt
from worker.execution.command import Command
from worker.execution.enqueueing import NONE, Options, compose_one
from worker.execution.job import Job
from worker.execution.schedules import Schedule
from worker.stores.schema import metadata

TAKEN: Final = "tick.taken"
MISSED: Final = "ticks.missed"
TAKEN_BY_ANOTHER: Final = "tick.conflicts"

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column(
        "settled_to",
        DateTime(timezone=True),
        nullable=False,
        comment="ticks up to this moment have been taken or let go",
    ),
    Column("last_tick", DateTime(timezone=True), comment="the last one that was taken"),
    Column("last_job", Uuid, comment="its job"),
)

_log = structlog.get_logger()


class WrongSchedule(TrivetError):
    """An entry of the schedule cannot be what its declaration says."""


@dataclass(frozen=True)
class Entry:
    """One entry of the schedule."""

    name: str
    job: Job[Any, Any]
    schedule: Schedule

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its payload, as the fields that were given."""
        payload = self.schedule.payload
        return payload.model_dump(mode="json", exclude_unset=True) if isinstance(payload, Command) else payload

    def compose(self, tick: datetime | None) -> Attempt:
        """The message of a tick's job, read as a worker will; without a tick, of a job with an id of its own."""
        payload = self.schedule.payload
        command, fields = (payload, {}) if isinstance(payload, Command) else (None, payload)
        options = NONE if tick is None else Options(idempotency_key=self.key(tick))
        _, attempt = compose_one(self.job, command, fields, options)
        return attempt

    def key(self, tick: datetime) -> str:
        """The idempotency key of a tick's job."""
        return f"schedule/{self.name}/{tick.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Settled:
    """How far an entry has come."""

    settled_to: datetime
    last_tick: datetime | None
    last_job: UUID | None


def read_entries(jobs: Iterable[Job[Any, Any]]) -> dict[str, Entry]:
    """The entries that these jobs declare, by name.

    Raises `WrongSchedule` for two of one name, and for a payload that its task does not take.
    """
    entries: dict[str, Entry] = {}
    for job in jobs:
        for schedule in job.schedules:
            entry = Entry(schedule.name or job.name, job, schedule)
            if entries.setdefault(entry.name, entry) is not entry:
                raise WrongSchedule(f"two schedules are named {entry.name}: give one of them another name=")
            _try_payload(entry)
    return entries


def _try_payload(entry: Entry) -> None:
    try:
        entry.compose(datetime.now(UTC))
    except Rejected as problem:
        place = f"{problem.field}: " if problem.field else ""
        raise WrongSchedule(
            f"the schedule {entry.name} has a payload that {entry.job.name} refuses: {place}{problem.message}"
        ) from problem


def read_settled(connection: Connection) -> tuple[datetime, Mapping[str, Settled]]:
    """The time on PostgreSQL's clock, and how far the entries have come that a beat has seen."""
    rows = connection.exec_driver_sql("SELECT name, settled_to, last_tick, last_job FROM trivet.schedules").all()
    return _now(connection), {row.name: Settled(row.settled_to, row.last_tick, row.last_job) for row in rows}


def settle(connection: Connection, entry: Entry, retention: timedelta) -> datetime:
    """Take the ticks of an entry that are due, as its rule says; returns up to when it is settled then.

    An entry that is seen for the first time is settled up to now. Ticks older than the retention are let go, for
    no id protects them any more.
    """
    connection.exec_driver_sql(
        "INSERT INTO trivet.schedules (name, settled_to) VALUES (%s, clock_timestamp()) ON CONFLICT DO NOTHING",
        (entry.name,),
    )
    settled_to = connection.exec_driver_sql(
        "SELECT settled_to FROM trivet.schedules WHERE name = %s FOR UPDATE", (entry.name,)
    ).scalar_one()
    now = _now(connection)  # once the row is locked: another beat may have had it for a while
    settled_to = max(settled_to, now - retention)
    due = entry.schedule.due(settled_to, now)
    if due.settled_to == settled_to:
        return due.settled_to
    if entry.schedule.missed(settled_to, now):
        _log.warning(MISSED, entry=entry.name, since=str(settled_to), rule=entry.schedule.catch_up)
    jobs = [_take(connection, entry, tick) for tick in due.ticks]
    connection.exec_driver_sql(
        """
        UPDATE trivet.schedules
        SET settled_to = %s, last_tick = coalesce(%s, last_tick), last_job = coalesce(%s, last_job)
        WHERE name = %s
        """,
        (due.settled_to, *((due.ticks[-1], jobs[-1]) if jobs else (None, None)), entry.name),
    )
    crash_point("before_tick_commit")
    return due.settled_to


def _take(connection: Connection, entry: Entry, tick: datetime) -> UUID:
    attempt = entry.compose(tick)
    try:
        accept(connection, attempt, None)
    except IdempotencyConflict:  # its id was used with another payload: that job was this tick's
        _log.warning(TAKEN_BY_ANOTHER, entry=entry.name, tick=str(tick), job_id=str(attempt.job_id))
    else:
        _log.info(TAKEN, entry=entry.name, tick=str(tick), job_id=str(attempt.job_id))
    return attempt.job_id


def _now(connection: Connection) -> datetime:
    now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return now
