"""`enqueue_in`: a job in the caller's own transaction, from Python."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tasks.accounts import Deposit, deposit
from tests.fixtures.jobs import Bank, message
from tests.fixtures.sql import enqueue
from worker.errors import IdempotencyConflict, InvalidPayload, Outcome, PayloadTooLarge
from worker.execution.resending import send_due
from worker.intake.elements import read_element
from worker.messages import Message, derive_id
from worker.operations.jobs import tell


@pytest.fixture
def session(bank: Bank) -> Iterator[Session]:
    """Somebody else's session; it is rolled back unless the test commits it."""
    with Session(bank.run.given.engine) as session:
        yield session


def sent(bank: Bank) -> list[Message]:
    """Send what is due; returns what is in the queue of accounts then."""
    redis = bank.run.given.redis
    send_due(bank.run.given)
    elements: Any = redis.lrange("accounts", 0, -1)
    redis.delete("accounts")
    return [read_element(raw).message for raw in reversed(elements)]


def test_a_job_is_there_with_its_callers_rows_and_runs_as_any_other(bank: Bank, session: Session) -> None:
    account = bank.open(100)

    job = deposit.enqueue_in(session, Deposit(account=account, amount=5), want_result=True)
    before = sent(bank)
    session.commit()
    (after,) = sent(bank)
    bank.run(after)

    assert before == []
    assert (after.task_id, UUID(after.task_id), after.wants_result) == (job.task_id, job.job_id, True)
    assert bank.balance(account) == 105
    assert bank.run.given.redis.exists(f"celery-task-meta-{job.task_id}")
    bank.check()


def test_a_connection_will_do_and_a_rollback_enqueues_nothing(bank: Bank) -> None:
    account = bank.open(100)
    with bank.run.given.engine.connect() as connection:
        deposit.enqueue_in(connection, account=account, amount=5)
        connection.rollback()
        deposit.enqueue_in(connection, account=account, amount=7)
        connection.commit()

    bank.run(*sent(bank))

    assert bank.balance(account) == 107


def test_a_time_and_a_deadline_are_kept_with_the_job(bank: Bank, session: Session) -> None:
    eta, limit = (datetime.now(UTC) + timedelta(days=days) for days in (2, 3))

    job = deposit.enqueue_in(session, Deposit(account=uuid4(), amount=5), eta=eta, deadline=limit)
    session.commit()

    story = tell(bank.run.given.engine, job.job_id)
    assert story is not None
    assert (story.due_at, story.deadline, sent(bank)) == (eta, limit, [])


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"amount": 1.5}, InvalidPayload),
        ({"amount": 0}, InvalidPayload),
        ({"amount": 1, "unknown": 2}, InvalidPayload),
        ({"amount": 1, "idempotency_key": ""}, InvalidPayload),
        ({"amount": 1, "eta": datetime(2030, 1, 1)}, InvalidPayload),  # noqa: DTZ001 - that is what is wrong
        ({"amount": 1, "text": "x" * 300_000}, PayloadTooLarge),
    ],
)
def test_what_a_worker_would_refuse_is_refused_and_the_transaction_goes_on(
    bank: Bank, session: Session, fields: dict[str, Any], problem: type[Exception]
) -> None:
    with pytest.raises(problem):
        deposit.enqueue_in(session, account=uuid4(), **fields)

    assert session.execute(text("SELECT count(*) FROM trivet.jobs")).scalar_one() == 0


def test_the_same_key_from_every_way_in_is_one_job(bank: Bank, session: Session) -> None:
    payload: dict[str, Any] = {"account": str(bank.open(100)), "amount": 5}

    first = deposit.enqueue_in(session, **payload, idempotency_key="order-1")
    second = enqueue(session.connection(), "accounts.deposit", payload, "order-1")
    third = deposit.enqueue_in(session, **payload, idempotency_key="order-1")
    session.commit()
    bank.run(*sent(bank), message("accounts.deposit", payload, idempotency_key="order-1"))
    deposit.enqueue_in(session, **payload, idempotency_key="order-1")
    session.commit()

    assert first.job_id == second == third.job_id == derive_id("accounts.deposit", "order-1")
    assert (sent(bank), bank.balance(UUID(payload["account"]))) == ([], 105)
    bank.check()


@pytest.mark.parametrize("by_sql", [False, True])
def test_another_payload_is_a_conflict_and_the_transaction_goes_on(
    bank: Bank, session: Session, *, by_sql: bool
) -> None:
    payload: dict[str, Any] = {"account": str(bank.open(100)), "amount": 5}
    if by_sql:
        enqueue(session.connection(), "accounts.deposit", payload, "order-1")
    else:
        deposit.enqueue_in(session, **payload, idempotency_key="order-1")

    with pytest.raises(IdempotencyConflict, match="another payload or task"):
        deposit.enqueue_in(session, **payload | {"amount": 6}, idempotency_key="order-1")
    session.commit()
    (ending,) = bank.run(*sent(bank))

    assert (ending.outcome, bank.balance(UUID(payload["account"]))) == (Outcome.SUCCEEDED, 105)


def test_a_producer_needs_no_right_on_tables(bank: Bank, session: Session) -> None:
    session.execute(text("SET LOCAL ROLE trivet_producer"))

    job = deposit.enqueue_in(session, account=uuid4(), amount=5)
    session.commit()

    assert tell(bank.run.given.engine, job.job_id) is not None
