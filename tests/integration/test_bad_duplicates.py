"""A message that is refused for itself ends at most itself: the job that another message brought stands."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from tasks.accounts import deposit
from tests.fixtures.jobs import Bank, message
from tests.integration.test_enqueue_in import sent
from worker.errors import Outcome
from worker.messages import Message

BAD: dict[str, dict[str, Any]] = {
    "expired": {"deadline": "2026-01-01T00:00:00Z"},
    "invalid_payload": {"deadline": "x"},
    "of no known version": {"payload_version": 99},
    "revoked": {},
}


def bad(kind: str, task: str, payload: dict[str, Any], task_id: str | None = None, **headers: Any) -> Message:
    """A message of this payload with this fault."""
    return replace(message(task, payload, task_id, **headers | BAD[kind]), revoked=kind == "revoked")


def accepted(bank: Bank, account: UUID, **options: Any) -> str:
    """Accept a deposit of 5 in a transaction; returns its task id."""
    with Session(bank.run.given.engine) as session, session.begin():
        return deposit.enqueue_in(session, account=account, amount=5, idempotency_key="k", **options).task_id


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_duplicate_leaves_an_accepted_job_as_it_is(bank: Bank, kind: str) -> None:
    account = bank.open()
    accepted(bank, account)
    payload = {"account": account, "amount": 5}
    duplicate = bad(kind, "accounts.deposit", payload, idempotency_key="k", want_result=True)

    (refused,) = bank.run(duplicate)
    bank.run(*sent(bank))

    code = kind if kind in {"expired", "revoked"} else "invalid_payload"
    assert (refused.outcome, refused.data["code"]) == (Outcome.REJECTED, code)
    assert bank.balance(account) == 5
    assert bank.run.given.redis.exists(f"celery-task-meta-{duplicate.task_id}")
    told = [
        (event["type"], event["taskid"] == duplicate.task_id)
        for event in bank.events()
        if event["type"].startswith("accounts.deposit")
    ]
    assert told == [("accounts.deposit.rejected", True), ("accounts.deposit.succeeded", False)]


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_duplicate_leaves_a_retrying_job_as_it_is(bank: Bank, kind: str, tmp_path: Path) -> None:
    payload = {"path": str(tmp_path / "count"), "times": 1}
    bank.run(message("testing.fail", payload, idempotency_key="k"))
    row = "SELECT state, due_at, body, headers, attempts FROM trivet.jobs WHERE task = 'testing.fail'"
    before = bank.rows(row)

    (refused,) = bank.run(bad(kind, "testing.fail", payload, idempotency_key="k"))

    assert refused.outcome is Outcome.REJECTED
    assert bank.rows(row) == before
    assert before[0].state == "retrying"


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_message_does_not_take_a_good_one_of_its_batch_with_it(bank: Bank, kind: str) -> None:
    account = bank.open()
    payload = {"account": account, "amount": 5}
    good = message("accounts.deposit", payload, idempotency_key="k")

    bank.run(bad(kind, "accounts.deposit", payload, idempotency_key="k"), good)

    assert bank.balance(account) == 5
    bank.check()


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_message_of_a_job_that_nobody_knows_ends_it(bank: Bank, kind: str) -> None:
    payload = {"account": bank.open(), "amount": 5}

    (first,) = bank.run(bad(kind, "accounts.deposit", payload, idempotency_key="k"))
    (later,) = bank.run(message("accounts.deposit", payload, idempotency_key="k"))

    assert first.outcome in {Outcome.REJECTED, Outcome.PARKED}
    assert (later.outcome, later.data) == (first.outcome, first.data)
    bank.check()


def test_a_job_whose_own_message_is_revoked_while_it_waits_is_rejected(bank: Bank, tmp_path: Path) -> None:
    account, task_id = bank.open(), str(uuid4())
    accepted(bank, account)
    retrying = message("testing.fail", {"path": str(tmp_path / "count"), "times": 1}, task_id)
    bank.run(retrying)

    (own,) = sent(bank)
    endings = [*bank.run(replace(own, revoked=True)), *bank.run(replace(retrying, revoked=True))]

    assert [ending.data["code"] for ending in endings] == ["revoked", "revoked"]
    assert bank.balance(account) == 0
    bank.check()


def test_who_waits_for_an_accepted_job_hears_of_it_though_another_message_ran_it(bank: Bank) -> None:
    account = bank.open()
    task_id = accepted(bank, account, want_result=True)

    bank.run(message("accounts.deposit", {"account": account, "amount": 5}, idempotency_key="k"))

    assert bank.run.given.redis.exists(f"celery-task-meta-{task_id}")
    bank.check()


def test_a_duplicate_that_fails_does_not_lose_the_waiter_of_the_first(bank: Bank, tmp_path: Path) -> None:
    payload = {"path": str(tmp_path / "count"), "times": 2}
    first = message("testing.fail", payload, idempotency_key="k", want_result=True)
    second, third = (message("testing.fail", payload, idempotency_key="k") for _ in range(2))

    endings = bank.run(first) + bank.run(second) + bank.run(third)

    assert endings[-1].outcome is Outcome.SUCCEEDED
    assert bank.run.given.redis.exists(f"celery-task-meta-{first.task_id}")
