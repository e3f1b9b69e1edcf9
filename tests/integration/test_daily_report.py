"""The report of a day: figures that are right, one document a day however often it is made."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from tests.fixtures.jobs import Bank, message
from worker.execution import batch


def report(bank: Bank) -> dict[str, Any]:
    (ending,) = bank.run(message("maintenance.daily_report", {}))
    assert ending.outcome == "succeeded", ending
    return dict(ending.data)


def written(bank: Bank) -> dict[str, dict[str, Any]]:
    return {each["_id"]: each for each in bank.run.given.documents.reports.find()}


def a_day(bank: Bank) -> None:
    """Two users, two currencies, three transfers and a capture, one rejection, one post."""
    user = bank.user()
    source, target = bank.open_many(2, 100, owner=user)
    yen = bank.open_many(2, 500, "JPY")
    for pair, amount in (((source, target), 30), ((target, source), 5), ((yen[0], yen[1]), 400)):
        bank.run(message("accounts.transfer", {"source": pair[0], "target": pair[1], "amount": amount}))
    bank.run(message("accounts.transfer", {"source": source, "target": target, "amount": 9_999}))
    hold = uuid4()
    bank.run(message("accounts.hold", {"source": source, "target": target, "amount": 20}, hold))
    bank.run(message("accounts.capture", {"hold": hold, "amount": 15}))
    bank.run(message("posts.create", {"author_id": user, "title": "One"}))


TASKS = [
    ("accounts.capture", "succeeded", 1),
    ("accounts.hold", "succeeded", 1),
    ("accounts.open", "succeeded", 4),
    ("accounts.transfer", "rejected", 1),
    ("accounts.transfer", "succeeded", 3),
    ("posts.create", "succeeded", 1),
    ("users.create", "succeeded", 2),
]


def check(figures: dict[str, Any]) -> None:
    told = [(each["task"], each["outcome"], each["jobs"]) for each in figures["jobs"]]
    assert [each for each in told if not each[0].startswith("maintenance")] == TASKS
    assert figures["transfers"] == [
        {"currency": "EUR", "transfers": 3, "amount": 50},
        {"currency": "JPY", "transfers": 1, "amount": 400},
    ]
    assert (figures["new_users"], figures["new_posts"]) == (2, 1)


def test_the_report_counts_jobs_transfers_users_and_posts_of_the_day(bank: Bank) -> None:
    a_day(bank)
    today = f"{datetime.now(UTC):%F}"

    told = report(bank)

    check(told["today"])
    check(written(bank)[f"daily_report:{today}"])
    assert (told["today"]["complete"], told["yesterday"]["complete"]) == (False, True)
    assert (told["yesterday"]["jobs"], told["yesterday"]["transfers"], told["yesterday"]["new_users"]) == (
        [],
        [],
        0,
    )
    assert (told["owed"], told["parked"]) == (0, 0)


def test_a_day_that_is_over_has_the_same_figures_however_often_they_are_made(bank: Bank) -> None:
    a_day(bank)
    with bank.run.given.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for column, table in (
            ("ended_at", "trivet.jobs"),
            ("entered_at", "ledger_entries"),
            ("created_at", "users"),
            ("created_at", "posts"),
        ):
            connection.execute(text(f"UPDATE {table} SET {column} = {column} - interval '1 day'"))  # noqa: S608 - ours

    first, second = report(bank), report(bank)

    check(first["yesterday"])
    assert second["yesterday"] == first["yesterday"]
    days = {f"daily_report:{datetime.now(UTC) - timedelta(days=back):%F}" for back in (0, 1)}
    assert written(bank).keys() == days
    assert bank.value("SELECT count(*) FROM reports") == 2


def test_what_is_owed_and_parked_is_counted(bank: Bank) -> None:
    bank.run(message("accounts.transfer", b"no JSON"))
    with bank.run.given.engine.begin() as connection:
        owed = "INSERT INTO trivet.outbox (job_id, lane, shard, subject, size, due_at, parked_at) VALUES "
        later = "(:id, 0, 0, 'x', 0, now() + interval '1 day', NULL), (:id, 0, 0, 'x', 0, NULL, now())"
        connection.execute(text(owed + later), {"id": uuid4()})

    told = report(bank)

    assert (told["owed"], told["parked"]) == (1, 2)


def test_a_user_who_is_gone_is_no_new_user(bank: Bank) -> None:
    users = [bank.user() for _ in range(2)]
    bank.run(message("users.delete", {"id": users[0]}))

    assert report(bank)["today"]["new_users"] == 1


def test_tasks_that_nobody_knows_are_one_however_many_names_they_have(bank: Bank) -> None:
    for number in range(300):
        unknown = message(f"shop.{number:05d}{'x' * 240}", {})
        batch.park(unknown, "unknown_task", "no task has this name", bank.run.given)

    assert report(bank)["today"]["jobs"] == [{"task": "unknown", "outcome": "parked", "jobs": 300}]


def test_the_report_names_nobody(bank: Bank) -> None:
    a_day(bank)

    report(bank)

    assert "example.org" not in str(written(bank))
    assert "Ada" not in str(written(bank))
