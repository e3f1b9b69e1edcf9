"""The daily report: what happened on a day, in figures and without a name."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from tasks.maintenance.once import once
from tasks.model import LedgerEntry, Post, User
from tasks.model.reports import write_report
from worker import Command, Crontab, Rejected, Result, Schedule, UnitOfWork, job

NAME: Final = "daily_report"


class DailyReport(Command):
    """Report the day that is, so far, and the day before."""


class JobsEnded(Result):
    """How many jobs of a task came to this outcome."""

    task: str
    outcome: str
    jobs: int


class Volume(Result):
    """The transfers in one currency, captures included, and what they moved, in minor units."""

    currency: str
    transfers: int
    amount: int


class Day(Result):
    """The figures of one day, in UTC; `complete`: it is over."""

    day: date
    complete: bool
    jobs: list[JobsEnded]
    transfers: list[Volume]
    new_users: int
    new_posts: int


class Reported(Result):
    """Both days, and what is owed or parked at this moment."""

    today: Day
    yesterday: Day
    owed: int
    parked: int


@job("maintenance.daily_report", schedule=Schedule(Crontab("5 0 * * *")))
def daily_report(_command: DailyReport, work: UnitOfWork) -> Reported:
    """Count, and write a report of each of the two days. To do so again makes no others."""
    today = work.now.astimezone(UTC).date()
    report = Reported(
        today=_figures(work, today),
        yesterday=_figures(work, today - timedelta(days=1)),
        owed=work.past.owed(),
        parked=work.past.parked(),
    )
    now = {"owed": report.owed, "parked": report.parked}
    for figures in (report.yesterday, report.today):
        write_report(work, NAME, figures.day, figures.model_dump(mode="json") | now)
    return report


@daily_report.batch
def daily_report_once(asked: Sequence[tuple[DailyReport, UnitOfWork]]) -> Sequence[Result | Rejected]:
    """Many who ask at the same time get one answer."""
    return once(daily_report, asked)


def _figures(work: UnitOfWork, day: date) -> Day:
    begins = datetime.combine(day, time(), UTC)
    ends = begins + timedelta(days=1)
    moved = work.session.execute(_transfers(begins, ends))
    return Day(
        day=day,
        complete=ends <= work.now,
        jobs=[JobsEnded(**told._asdict()) for told in work.past.tally(begins, ends)],
        transfers=[Volume(currency=row.currency, transfers=row.transfers, amount=int(row.amount)) for row in moved],
        new_users=_new(work, User.created_at, begins, ends, User.deleted_at.is_(None)),
        new_posts=_new(work, Post.created_at, begins, ends),
    )


def _transfers(begins: datetime, ends: datetime) -> Select[str, int, int]:
    """What went from account to account: the leg that took, where the leg that gave is not the system account's."""
    given = aliased(LedgerEntry)
    return (
        select(LedgerEntry.currency, func.count().label("transfers"), func.sum(given.amount).label("amount"))
        .join(given, given.movement_id == LedgerEntry.movement_id)
        .where(_within(LedgerEntry.entered_at, begins, ends))
        .where(LedgerEntry.amount < 0, LedgerEntry.account_id.is_not(None))
        .where(given.amount > 0, given.account_id.is_not(None))
        .group_by(LedgerEntry.currency)
        .order_by(LedgerEntry.currency)
    )


def _new(
    work: UnitOfWork,
    created_at: InstrumentedAttribute[datetime],
    begins: datetime,
    ends: datetime,
    *there: ColumnElement[bool],
) -> int:
    """How many rows were made on the day, and are still there; `there`: where a row outlives what it was."""
    counted = select(func.count()).select_from(created_at.class_).where(_within(created_at, begins, ends), *there)
    return work.session.scalars(counted).one()


def _within(at: InstrumentedAttribute[datetime], begins: datetime, ends: datetime) -> ColumnElement[bool]:
    return (at >= begins) & (at < ends)
