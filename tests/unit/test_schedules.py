"""When ticks are, and which of them are taken: pure functions of times."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from celery.schedules import crontab as celerys
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.accounts.holding import expire_holds, hold
from worker import CatchUp, Crontab, Every, Schedule
from worker.execution.schedules import PORTION
from worker.execution.ticks import WrongSchedule, read_entries

NOON = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - the zone follows
FIELDS = st.tuples(
    st.sampled_from(["*", "0", "*/15", "7,38", "10-20/5", "59"]),
    st.sampled_from(["*", "0", "23", "9-17", "*/6"]),
    st.sampled_from(["*", "1", "28", "30", "31", "*/10"]),
    st.sampled_from(["*", "1", "3,12", "4-9", "12"]),
    st.just("*"),
) | st.tuples(
    st.sampled_from(["*", "5"]),
    st.sampled_from(["*", "3"]),
    st.just("*"),
    st.just("*"),
    st.sampled_from(["0", "1-5"]),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# When


@given(FIELDS, MOMENTS)
def test_a_crontab_ticks_when_celerys_does(fields: Sequence[str], moment: datetime) -> None:
    minute, hour, day, month, weekday = fields
    app = Celery("schedules", set_as_current=False)
    app.conf.timezone = "UTC"
    theirs = celerys(minute, hour, weekday, day, month, app=app, nowfun=lambda: moment)

    ours = Crontab(" ".join(fields)).after(moment)

    assert ours == moment + theirs.remaining_estimate(moment)


@given(FIELDS.map(" ".join).map(Crontab) | st.integers(1, 100_000).map(Every), MOMENTS)
def test_a_moment_lies_between_the_ticks_around_it(when: Crontab | Every, moment: datetime) -> None:
    before, after = when.until(moment), when.after(moment)

    assert before <= moment < after
    assert when.after(before) == after
    assert when.until(before) == before
    assert when.until(after - timedelta(microseconds=1)) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 3 * * *", "2026-04-01 03:30"),
        ("*/5 * * * *", "2026-03-31 12:05"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 31 * *", "2026-05-31 00:00"),
        ("0 9 * * 7", "2026-04-05 09:00"),
        ("0 9 * * 0", "2026-04-05 09:00"),
        ("0 9 * * 1-5", "2026-04-01 09:00"),
    ],
)
def test_a_crontab_names_minutes_in_utc(text: str, expected: str) -> None:
    assert Crontab(text).after(NOON) == at(expected)


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    elsewhere = NOON.astimezone(datetime.fromisoformat("2026-03-31T12:00+05:30").tzinfo)

    assert Crontab("30 12 * * *").after(elsewhere) == at("2026-03-31 12:30")
    assert Every(3_600).after(elsewhere) == at("2026-03-31 13:00")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("* * * *", "has 4 fields; it needs 5"),
        ("60 * * * *", "the minute of the crontab '60 * * * *' is '60'; its numbers go up, from 0 to 59"),
        ("* 5-2 * * *", "the hour of the crontab"),
        ("* * 0 * *", "the day of the month of the crontab"),
        ("* * * 13 *", "the month of the crontab"),
        ("* * * * mon", "the day of the week of the crontab"),
        ("*/0 * * * *", "its numbers go up"),
        ("5/10 * * * *", "cannot be read: '5/10'"),
        ("1,,2 * * * *", "cannot be read: ''"),
        ("0 0 30 2 *", "names no day that there is"),
        ("0 0 1 * 1", "days of the month and of the week: give one of them"),
    ],
)
def test_a_crontab_that_cannot_be_read_is_refused_where_it_is_declared(text: str, told: str) -> None:
    with pytest.raises(ValueError, match="crontab") as refused:
        Crontab(text)

    assert told in str(refused.value)


def test_an_interval_below_a_second_is_refused() -> None:
    with pytest.raises(ValueError, match="at most once a second"):
        Every(0)


# Which


def ticks(schedule: Schedule, settled_to: str, now: str) -> list[str]:
    due = schedule.due(at(settled_to), at(now))
    assert not due.ticks or due.settled_to >= due.ticks[-1]
    return [f"{tick:%H:%M}" for tick in due.ticks]


@pytest.mark.parametrize("rule", CatchUp)
def test_a_tick_on_time_is_taken_by_every_rule_and_never_again(rule: CatchUp) -> None:
    hourly = Schedule(Every(3_600), catch_up=rule)

    assert ticks(hourly, "2026-03-31 11:00", "2026-03-31 11:59:59") == []
    assert ticks(hourly, "2026-03-31 11:00", "2026-03-31 12:00:00") == ["12:00"]
    assert ticks(hourly, "2026-03-31 12:00", "2026-03-31 12:00:30") == []


def test_of_missed_ticks_once_takes_the_last_skip_none_and_each_all() -> None:
    missed = ("2026-03-31 08:30", "2026-03-31 12:10")

    assert ticks(Schedule(Every(3_600), catch_up=CatchUp.ONCE), *missed) == ["12:00"]
    assert ticks(Schedule(Every(3_600), catch_up=CatchUp.SKIP), *missed) == []
    assert ticks(Schedule(Every(3_600), catch_up=CatchUp.EACH), *missed) == ["09:00", "10:00", "11:00", "12:00"]


def test_after_missed_ticks_the_one_that_is_on_time_is_not_skipped() -> None:
    hourly = Schedule(Every(3_600), catch_up=CatchUp.SKIP)

    assert ticks(hourly, "2026-03-31 08:30", "2026-03-31 12:01:00") == ["12:00"]
    assert hourly.due(at("2026-03-31 08:30"), at("2026-03-31 12:10")).settled_to == NOON


def test_many_missed_ticks_are_taken_in_portions_from_the_oldest_on() -> None:
    schedule, settled_to, now = Schedule(Every(60), catch_up=CatchUp.EACH), NOON, NOON + timedelta(days=1)

    taken: list[datetime] = []
    while due := schedule.due(settled_to, now).ticks:
        assert len(due) <= PORTION
        taken += due
        settled_to = due[-1]

    assert taken == [NOON + timedelta(minutes=minute) for minute in range(1, 24 * 60 + 1)]


@settings(max_examples=30)
@given(MOMENTS, st.integers(0, 10**7), st.sampled_from(CatchUp))
def test_whatever_the_rule_nothing_is_due_twice(moment: datetime, gap_s: int, rule: CatchUp) -> None:
    schedule, now = Schedule(Crontab("*/7 3,15 * * *"), catch_up=rule), moment + timedelta(seconds=gap_s)

    first = schedule.due(moment, now)
    second = schedule.due(first.settled_to, now)

    assert not set(first.ticks) & set(second.ticks)
    assert all(moment < tick <= now for tick in first.ticks)


# Declared


def test_a_job_says_when_it_is_scheduled() -> None:
    entries = read_entries([expire_holds, hold])

    assert {name: str(entry.schedule.when) for name, entry in entries.items()} == {
        "maintenance.expire_holds": "every 60 s"
    }


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(WrongSchedule, match=r"two schedules are named maintenance\.expire_holds"):
        read_entries([expire_holds, expire_holds])
