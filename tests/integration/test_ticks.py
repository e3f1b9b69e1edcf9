"""Ticks on a real PostgreSQL: each is one job, whoever takes it, however late."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from tests.fixtures.jobs import Bank
from tests.fixtures.sql import enqueue
from worker import CatchUp, Every, Schedule
from worker.execution.job import JOBS
from worker.execution.ticking import FAILED, FAILED_AGAIN_S, take_due
from worker.execution.ticks import MISSED, TAKEN_BY_ANOTHER, Entry, WrongSchedule, read_entries
from worker.messages import derive_id
from worker.operations.embedded.ports import choose
from worker.stores.resources import Resources

TASK = "testing.answer"
RETENTION = timedelta(days=30)
HOUR = Every(3_600)


def entry(name: str = "hourly", when: Every = HOUR, rule: CatchUp = CatchUp.ONCE, **payload: Any) -> Entry:
    return Entry(name, JOBS[TASK], Schedule(when, payload or {"length": 1}, rule))


def take(given: Resources, *entries: Entry) -> float:
    return take_due(given.engine, entries, RETENTION)


def miss(bank: Bank, name: str, ago: timedelta) -> datetime:
    """Let the entry be settled up to so long ago; returns when that was."""
    settled_to: datetime = bank.value(
        "INSERT INTO trivet.schedules (name, settled_to) VALUES (:name, now() - :ago)"
        " ON CONFLICT (name) DO UPDATE SET settled_to = excluded.settled_to RETURNING settled_to",
        name=name,
        ago=ago,
    )
    return settled_to


def jobs(bank: Bank) -> list[UUID]:
    return [row.id for row in bank.rows("SELECT id FROM trivet.jobs ORDER BY first_seen, id")]


def ids(ticks: Sequence[datetime], name: str = "hourly") -> set[UUID]:
    return {derive_id(TASK, f"schedule/{name}/{tick:%Y-%m-%dT%H:%M:%SZ}") for tick in ticks}


def ticks_since(moment: datetime, when: Every = HOUR) -> list[datetime]:
    ticks = [when.after(moment)]
    while (following := when.after(ticks[-1])) <= datetime.now(UTC):
        ticks.append(following)
    return ticks


def row(bank: Bank, name: str = "hourly") -> Any:
    (found,) = bank.rows("SELECT * FROM trivet.schedules WHERE name = :name", name=name)
    return found


def test_an_entry_that_is_new_begins_with_its_next_tick(bank: Bank, given: Resources) -> None:
    wait_s = take(given, entry())

    assert jobs(bank) == []
    assert row(bank).last_tick is None
    next_tick = HOUR.after(row(bank).settled_to)
    assert 0 <= wait_s <= (next_tick - row(bank).settled_to).total_seconds() + 1  # as two clocks may differ


def test_a_tick_is_a_job_that_waits_to_be_sent_under_an_id_made_of_entry_and_time(
    bank: Bank, given: Resources
) -> None:
    miss(bank, "hourly", timedelta(hours=1))

    take(given, entry(length=7))

    (job,) = bank.rows("SELECT * FROM trivet.jobs")
    assert {job.id} == ids([HOUR.until(datetime.now(UTC))])
    assert (job.task, job.state, job.due_at is not None) == (TASK, "accepted", True)
    assert b'{"length":7}' in bytes(job.body)
    assert (row(bank).last_tick, row(bank).last_job) == (row(bank).settled_to, job.id)
    assert given.redis.dbsize() == 0


def test_a_tick_that_was_taken_is_not_due_any_more(bank: Bank, given: Resources) -> None:
    miss(bank, "hourly", timedelta(hours=1))

    waits_s = [take(given, entry()) for _ in range(3)]

    assert len(jobs(bank)) == 1
    assert all(0 <= wait_s <= 3_600 for wait_s in waits_s)


@pytest.mark.parametrize(
    ("rule", "taken"), [(CatchUp.ONCE, slice(-1, None)), (CatchUp.EACH, slice(None)), (CatchUp.SKIP, slice(0))]
)
def test_missed_ticks_follow_the_entrys_rule(bank: Bank, given: Resources, rule: CatchUp, taken: slice) -> None:
    since, now = miss(bank, "hourly", timedelta(hours=10)), datetime.now(UTC)
    late = timedelta(minutes=5)  # neither was the last tick a moment ago, nor is the next one near
    every = next(one for one in map(Every, range(7_200, 9_000)) if late < now - one.until(now) < 2 * late)

    with capture_logs() as logs:
        take(given, entry(when=every, rule=rule))

    assert set(jobs(bank)) == ids(ticks_since(since, every)[taken])
    assert row(bank).settled_to == every.until(datetime.now(UTC))
    assert [log["rule"] for log in logs if log["event"] == MISSED] == [rule]


def test_each_of_very_many_missed_ticks_is_one_job(bank: Bank, given: Resources) -> None:
    since = miss(bank, "hourly", timedelta(minutes=20))
    often = entry(when=Every(1), rule=CatchUp.EACH)

    takes = 1
    while take(given, often) == 0:
        takes += 1

    assert set(jobs(bank)) == ids(ticks_since(since, Every(1))[: len(jobs(bank))])
    assert len(jobs(bank)) >= 1_200
    assert takes >= 3


def test_ticks_older_than_the_retention_are_let_go(bank: Bank, given: Resources) -> None:
    miss(bank, "hourly", timedelta(days=400))

    take_due(given.engine, [entry(rule=CatchUp.EACH)], timedelta(days=1))

    assert len(jobs(bank)) == 24


def test_beats_that_look_at_the_same_time_take_a_tick_once(bank: Bank, given: Resources) -> None:
    entries = [entry(f"entry {number}") for number in range(10)]
    for one in entries:
        miss(bank, one.name, timedelta(hours=1))
    ready = threading.Barrier(4)

    def look() -> None:
        ready.wait()
        take(given, *entries)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(jobs(bank)) == 10


def test_a_beat_that_remembers_nothing_makes_the_same_ids(bank: Bank, given: Resources) -> None:
    miss(bank, "hourly", timedelta(hours=5))
    take(given, entry(rule=CatchUp.EACH))
    before = jobs(bank)
    miss(bank, "hourly", timedelta(hours=3))

    take(given, entry(rule=CatchUp.EACH))

    assert jobs(bank) == before


def test_a_tick_whose_commit_fails_is_still_due(
    bank: Bank, given: Resources, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    miss(bank, "hourly", timedelta(hours=1))
    monkeypatch.setenv("TRIVET_CRASH_POINT", "before_tick_commit:raise")
    monkeypatch.setenv("TRIVET_CRASH_ONCE", str(tmp_path / "crashed"))

    with capture_logs() as logs:
        wait_s = take(given, entry())
    lost = jobs(bank)
    take(given, entry())

    assert lost == []
    assert [log["event"] for log in logs if log["event"] == FAILED] == [FAILED]
    assert wait_s <= FAILED_AGAIN_S
    assert len(jobs(bank)) == 1


def test_an_id_that_was_used_with_another_payload_counts_as_taken(bank: Bank, given: Resources) -> None:
    since = miss(bank, "hourly", timedelta(hours=2))
    first, last = ticks_since(since)
    with given.engine.begin() as connection:
        enqueue(connection, TASK, {"length": 99}, entry().key(first))

    with capture_logs() as logs:
        take(given, entry(rule=CatchUp.EACH))

    assert set(jobs(bank)) == ids([first, last])
    assert [log["event"] for log in logs if log["event"] == TAKEN_BY_ANOTHER] == [TAKEN_BY_ANOTHER]


@pytest.mark.parametrize(
    "bad",
    [entry("NUL \0 in its name"), entry("bad", length="seven"), entry("bad", length=float("nan"))],
    ids=["PostgreSQL refuses it", "its task refuses it", "it is no JSON"],
)
def test_an_entry_that_cannot_be_taken_harms_no_other(bank: Bank, given: Resources, bad: Entry) -> None:
    miss(bank, "hourly", timedelta(hours=1))
    if "\0" not in bad.name:
        miss(bank, bad.name, timedelta(hours=1))

    with capture_logs() as logs:
        wait_s = take(given, bad, entry())

    assert len(jobs(bank)) == 1
    assert wait_s <= FAILED_AGAIN_S
    assert [log["entry"] for log in logs if log["event"] == FAILED] == [bad.name]


def test_an_entry_whose_payload_is_refused_for_a_while_is_taken_as_soon_as_it_is_not(
    bank: Bank, given: Resources
) -> None:
    miss(bank, "hourly", timedelta(hours=1))
    take(given, entry(length="seven"))
    before = row(bank).last_tick

    take(given, entry(length=7))

    assert before is None
    assert len(jobs(bank)) == 1


def test_while_postgresql_is_away_nothing_is_taken_and_the_caller_is_told(given: Resources) -> None:
    away: Engine = create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{choose()}/none")

    with pytest.raises(OperationalError):
        take_due(away, [entry()], RETENTION)


@pytest.mark.parametrize(
    ("payload", "told"),
    [({"length": "seven"}, "length"), ({}, "length"), ({"length": 1, "depth": 2}, "depth")],
)
def test_a_payload_that_its_task_refuses_is_told_at_the_start(payload: Mapping[str, Any], told: str) -> None:
    job = replace(JOBS[TASK], schedules=(Schedule(HOUR, payload, name="wrong"),))

    with pytest.raises(
        WrongSchedule, match=rf"the schedule wrong has a payload that testing\.answer refuses: {told}"
    ):
        read_entries([job])
