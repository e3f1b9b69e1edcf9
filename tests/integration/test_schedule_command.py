"""`trivet schedule`: what is due when, beat running or not, and a job of the schedule by hand."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.fixtures.command_line import Run
from tests.fixtures.jobs import Bank
from worker.execution.job import JOBS
from worker.execution.ticking import take_due
from worker.execution.ticks import Entry, read_entries
from worker.messages import derive_id
from worker.operations.embedded.ports import choose
from worker.operations.scheduled import list_entries
from worker.stores.resources import Resources

NAME = "maintenance.expire_holds"


def the_entries() -> dict[str, Entry]:
    return read_entries([JOBS[NAME]])


def tick(given: Resources, ago: timedelta) -> None:
    """Take the ticks of so long, as beat would."""
    with given.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO trivet.schedules (name, settled_to) VALUES (%s, clock_timestamp() - %s)", (NAME, ago)
        )
    take_due(given.engine, the_entries().values(), timedelta(days=30))


def test_every_entry_is_listed_before_any_beat_has_run(bank: Bank, trivet: Run) -> None:
    listed = trivet("schedule", "ls", "--json")

    assert listed.returncode == 0, listed.stderr
    entries = {entry["name"]: entry for entry in json.loads(listed.stdout)}
    assert list(entries) == sorted(entries)
    entry = entries[NAME]
    assert (entry["task"], entry["when"], entry["catch_up"], entry["payload"]) == (NAME, "every 60 s", "once", {})
    assert (entry["last_tick"], entry["last_job"]) == (None, None)
    assert datetime.now(UTC) - timedelta(seconds=5) < datetime.fromisoformat(entry["next_tick"])


def test_last_and_next_tick_are_told_with_the_last_ticks_job(bank: Bank, given: Resources) -> None:
    tick(given, timedelta(minutes=3))

    now, (entry,) = list_entries(given.engine, the_entries())

    assert entry.last_tick is not None
    assert entry.last_tick <= now
    assert entry.next_tick == entry.last_tick + timedelta(minutes=1)
    assert entry.last_job == derive_id(NAME, f"schedule/{NAME}/{entry.last_tick:%Y-%m-%dT%H:%M:%SZ}")
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE id = :id", id=entry.last_job) == 1


def test_a_tick_that_no_beat_has_taken_is_shown_as_passed(bank: Bank, given: Resources, trivet: Run) -> None:
    tick(given, timedelta(minutes=3))
    with given.engine.begin() as connection:
        # Not a whole number of hours: the next tick is up to a minute later, and an age is told in whole hours.
        connection.exec_driver_sql("UPDATE trivet.schedules SET settled_to = settled_to - interval '90 minutes'")

    shown = trivet("schedule", "ls").stdout

    (line,) = (line for line in shown.splitlines() if line.startswith(NAME))
    assert "every 60 s" in line
    assert "1h ago" in line
    assert line.split()[-1] == "once"


def test_a_job_of_the_schedule_is_enqueued_by_hand_under_an_id_of_its_own(
    bank: Bank, given: Resources, trivet: Run
) -> None:
    tick(given, timedelta(minutes=1))
    before = bank.rows("SELECT name, settled_to, last_tick, last_job FROM trivet.schedules")

    first, second = trivet("schedule", "run", NAME), trivet("schedule", "run", NAME, "--json")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    by_hand = {UUID(first.stdout.strip()), UUID(json.loads(second.stdout)["id"])}
    known = {row.id: (row.task, row.state) for row in bank.rows("SELECT id, task, state FROM trivet.jobs")}
    assert len(known) == 3
    assert by_hand < known.keys()
    assert set(known.values()) == {(NAME, "accepted")}
    assert bank.rows("SELECT name, settled_to, last_tick, last_job FROM trivet.schedules") == before


def test_a_name_that_is_not_there_is_refused_in_one_line_with_those_that_are(bank: Bank, trivet: Run) -> None:
    close, far = trivet("schedule", "run", "maintenance.expire"), trivet("schedule", "run", "nothing like it")

    assert (close.returncode, far.returncode) == (1, 1)
    assert close.stderr.startswith("trivet: no schedule is named maintenance.expire; there is ")
    assert NAME in close.stderr
    assert NAME in far.stderr
    assert [text.count("\n") for text in (close.stderr, far.stderr)] == [1, 1]
    assert bank.value("SELECT count(*) FROM trivet.jobs") == 0


def test_without_postgresql_one_line_says_so(trivet: Run) -> None:
    away = {"TRIVET_POSTGRES_URL": f"postgresql://nobody@127.0.0.1:{choose()}/none"}

    for command in (["ls"], ["run", NAME]):
        refused = trivet("schedule", *command, **away)
        assert refused.returncode == 1
        assert refused.stderr.startswith("trivet: PostgreSQL does not answer")
        assert refused.stderr.count("\n") == 1
