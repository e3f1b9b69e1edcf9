"""Accounts: what may happen to money, and what may not, whoever asks for it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.fixtures.jobs import Bank, message
from worker.execution.attempt import Ending
from worker.stores.resources import Resources

CHANGES = (
    "UPDATE ledger_entries SET amount = amount + 1",
    "DELETE FROM ledger_entries",
    "TRUNCATE ledger_entries",
)


def do(bank: Bank, task: str, /, **payload: Any) -> Ending:
    (ending,) = bank.run(message(f"accounts.{task}", payload))
    return ending


def code(ending: Ending) -> str:
    """What became of it: its outcome, or why it was rejected."""
    return str(ending.data["code"]) if ending.outcome == "rejected" else str(ending.outcome)


def held(bank: Bank, source: UUID, target: UUID, amount: int, **more: Any) -> UUID:
    ending = do(bank, "hold", source=source, target=target, amount=amount, **more)
    return UUID(ending.data["hold"])


def expire(bank: Bank, *holds: UUID) -> None:
    """Let their time be up: the clock is PostgreSQL's, so it is the row that is moved."""
    with bank.run.given.engine.begin() as connection:
        connection.execute(
            text("UPDATE holds SET expires_at = now() - interval '1 s' WHERE id = ANY(:ids)"), {"ids": list(holds)}
        )


def test_a_withdrawal_takes_what_is_there_and_no_more(bank: Bank) -> None:
    account = bank.open(100)

    endings = bank.run(*(message("accounts.withdraw", {"account": account, "amount": 60}) for _ in range(2)))

    assert [code(ending) for ending in endings] == ["succeeded", "insufficient_funds"]
    assert endings[0].data == {"account": str(account), "balance": 40}
    bank.check()


@pytest.mark.parametrize("task", ["deposit", "withdraw"])
def test_no_account_no_movement(bank: Bank, task: str) -> None:
    assert code(do(bank, task, account=uuid4(), amount=1)) == "account_not_found"
    bank.check()


def test_what_is_held_cannot_be_spent(bank: Bank) -> None:
    source, target = bank.open(100), bank.open()
    held(bank, source, target, 70)

    endings = [
        do(bank, "withdraw", account=source, amount=31),
        do(bank, "transfer", source=source, target=target, amount=31),
        do(bank, "hold", source=source, target=target, amount=31),
        do(bank, "withdraw", account=source, amount=30),
    ]

    assert [code(ending) for ending in endings] == [*["insufficient_funds"] * 3, "succeeded"]
    bank.check()


@pytest.mark.parametrize(("asked", "moved"), [(None, 70), (50, 50)])
def test_a_capture_moves_all_or_part_and_releases_the_rest(bank: Bank, asked: int | None, moved: int) -> None:
    source, target = bank.open(100), bank.open()
    hold = held(bank, source, target, 70)

    ending = do(bank, "capture", hold=hold, amount=asked)

    assert (ending.data["source_balance"], ending.data["target_balance"]) == (100 - moved, moved)
    assert code(do(bank, "withdraw", account=source, amount=100 - moved)) == "succeeded"
    bank.check()


def test_no_more_is_captured_than_was_held(bank: Bank) -> None:
    source, target = bank.open(100), bank.open()
    hold = held(bank, source, target, 70)

    refused = do(bank, "capture", hold=hold, amount=71)

    assert (code(refused), refused.data["field"]) == ("invalid_payload", "amount")
    assert code(do(bank, "capture", hold=hold)) == "succeeded"
    bank.check()


@pytest.mark.parametrize("order", [("capture", "release"), ("release", "capture"), ("capture", "capture")])
def test_a_hold_resolves_at_most_once(bank: Bank, order: Sequence[str]) -> None:
    source, target = bank.open(100), bank.open()
    hold = held(bank, source, target, 70)

    endings = [do(bank, task, hold=hold) for task in order]

    assert [code(ending) for ending in endings] == ["succeeded", "hold_resolved"]
    bank.check()


def test_two_captures_in_one_batch_move_the_money_once(bank: Bank) -> None:
    source, target = bank.open(100), bank.open()
    hold = held(bank, source, target, 70)

    endings = bank.run(*(message("accounts.capture", {"hold": hold}) for _ in range(2)))

    assert [code(ending) for ending in endings] == ["succeeded", "hold_resolved"]
    bank.check()


def test_the_events_of_a_hold_belong_to_its_source(bank: Bank) -> None:
    source, target = bank.open(100), bank.open()

    do(bank, "capture", hold=held(bank, source, target, 10))
    do(bank, "release", hold=held(bank, source, target, 10))

    subjects = {event["type"]: event["subject"] for event in bank.events()}
    tasks = ("hold", "capture", "release")
    assert {subjects[f"accounts.{task}.succeeded"] for task in tasks} == {f"accounts/{source}"}
    bank.check()


def test_a_hold_whose_time_is_up_is_released_once_however_often_it_is_found(bank: Bank) -> None:
    source, target = bank.open(100), bank.open()
    hold, lasting = held(bank, source, target, 70, expires_in_s=1), held(bank, source, target, 5, expires_in_s=3600)
    expire(bank, hold)

    assert code(do(bank, "capture", hold=hold)) == "hold_resolved"
    for _ in range(2):
        bank.run(message("maintenance.expire_holds", {}))
    sent: Any = bank.run.given.redis.lrange("accounts", 0, -1)
    ids = [orjson.loads(raw)["headers"]["id"] for raw in sent]
    bank.run(*(message("accounts.release", {"hold": hold}, job_id) for job_id in ids))

    assert (len(ids), len(set(ids))) == (2, 1)  # sent twice, under one id
    assert bank.value("SELECT held FROM accounts WHERE id = :id", id=source) == 5
    assert bank.value("SELECT resolved_at IS NULL FROM holds WHERE id = :id", id=lasting)
    bank.check()


@pytest.mark.parametrize(
    ("task", "payload", "expected"),
    [
        ("hold", {"target": "source"}, "same_account"),
        ("hold", {"target": "dollars"}, "currency_mismatch"),
        ("hold", {"target": "closed"}, "account_closed"),
        ("hold", {"amount": 101}, "insufficient_funds"),
        ("transfer", {"target": "closed"}, "account_closed"),
        ("transfer", {"source": "closed"}, "account_closed"),
        ("transfer", {"target": "nobody"}, "account_not_found"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_moves(
    bank: Bank, task: str, payload: dict[str, Any], expected: str
) -> None:
    known = {"source": bank.open(100), "other": bank.open(), "dollars": bank.open(0, "USD"), "closed": bank.open()}
    do(bank, "close", id=known["closed"])
    wanted = {"source": "source", "target": "other", "amount": 1} | payload
    named = {key: known.get(value, uuid4()) if isinstance(value, str) else value for key, value in wanted.items()}

    ending = do(bank, task, **named)

    assert code(ending) == expected
    assert bank.balance(known["source"]) == 100
    bank.check()


@pytest.mark.parametrize("task", ["capture", "release"])
def test_no_hold_nothing_to_resolve(bank: Bank, task: str) -> None:
    assert code(do(bank, task, hold=uuid4())) == "hold_not_found"
    bank.check()


def test_a_target_that_was_closed_meanwhile_leaves_the_hold_open(bank: Bank) -> None:
    source, target = bank.open(100), bank.open()
    hold = held(bank, source, target, 70)
    do(bank, "close", id=target)

    assert code(do(bank, "capture", hold=hold)) == "account_closed"
    assert code(do(bank, "release", hold=hold)) == "succeeded"
    bank.check()


def test_only_an_empty_account_is_closed_and_a_closed_one_takes_nothing(bank: Bank) -> None:
    account = bank.open(10)

    first = do(bank, "close", id=account)
    do(bank, "withdraw", account=account, amount=10)
    second, third = do(bank, "close", id=account), do(bank, "close", id=account)

    assert [code(ending) for ending in (first, second, third)] == [
        "account_not_empty",
        "succeeded",
        "account_closed",
    ]
    assert code(do(bank, "deposit", account=account, amount=1)) == "account_closed"
    assert code(do(bank, "close", id=uuid4())) == "account_not_found"
    bank.check()


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_changes_the_ledger_not_even_its_owner(bank: Bank, change: str) -> None:
    bank.open(100)

    with pytest.raises(DBAPIError, match="never changed"), bank.run.given.engine.begin() as connection:
        connection.execute(text(change))


@pytest.mark.parametrize("change", CHANGES)
def test_the_worker_role_has_no_right_to_change_the_ledger(given: Resources, change: str) -> None:
    with given.engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE trivet_worker"))

        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text(change))


def test_the_worker_role_can_do_all_that_jobs_need_and_no_ddl(bank: Bank) -> None:
    with bank.run.given.engine.connect() as connection:
        connection.execute(text("SET ROLE trivet_worker"))
        connection.commit()  # the pool hands this very connection out again
    source, target = bank.open(100), bank.open()
    try:
        do(bank, "capture", hold=held(bank, source, target, 10))
        bank.check()

        with bank.run.given.engine.begin() as connection:
            assert connection.scalar(text("SELECT current_user")) == "trivet_worker"
            with pytest.raises(DBAPIError, match="permission denied"):
                connection.execute(text("CREATE TABLE public.mine ()"))
    finally:
        bank.run.given.engine.dispose()
