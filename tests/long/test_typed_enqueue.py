"""The typed way in, with a real worker on the other side: what a producer learns of its jobs, from Redis alone."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from threading import Thread
from uuid import UUID, uuid4

import pytest
from celery import Celery

from tasks.accounts import Deposit, deposit, transfer
from tasks.model import InsufficientFunds
from tasks.users import create
from tests.fixtures.command_line import Run
from tests.fixtures.jobs import Bank, Runner, empty
from tests.fixtures.nodes import WorkerNode, spawn_node
from worker import Command, Result, UnitOfWork, job
from worker.delivery.node import Node
from worker.errors import NotFound, Outcome, Rejected
from worker.execution.enqueued import Parked, ResultNotWanted
from worker.execution.enqueueing import Options
from worker.messages import derive_id
from worker.operations.embedded import Urls
from worker.settings import Settings
from worker.stores.resources import Resources

pytestmark = pytest.mark.usefixtures("producing", "node")

PATIENCE_S = 30


class Ask(Command):
    """What no worker knows."""


class Answered(Result):
    """What no worker says."""


@job("accounts.unheard_of")
def unheard_of(_command: Ask, _work: UnitOfWork) -> Answered:
    """A job that this producer has, and its workers have not yet."""
    return Answered()


@pytest.fixture(scope="module")
def given(settings: Settings) -> Iterator[Resources]:
    with closing(Resources.open(settings)) as given:
        empty(given)
        yield given


@pytest.fixture(scope="module")
def node(servers: Urls, given: Resources, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerNode]:
    """A worker, ready: one for the whole module."""
    with ExitStack() as running:
        node = spawn_node(running, servers, tmp_path_factory.mktemp("node"), concurrency=1)
        node.wait_ready()
        yield node


@pytest.fixture
def bank(given: Resources) -> Iterator[Bank]:
    with closing(Node()) as shared:
        yield Bank(Runner(given, shared))


@pytest.fixture
def account(bank: Bank) -> UUID:
    return bank.open(100)


# The answer


def test_the_result_is_the_typed_answer(bank: Bank, account: UUID) -> None:
    other = bank.open(0)

    answer = transfer.enqueue(source=account, target=other, amount=30, want_result=True).result(PATIENCE_S)

    assert (answer.source_balance, answer.target_balance) == (70, 30)
    assert bank.balance(account) == 70


def test_a_rejection_is_raised_with_its_code_and_by_its_class(account: UUID) -> None:
    sent = transfer.enqueue(source=account, target=account, amount=1, want_result=True)
    with pytest.raises(Rejected) as same:
        sent.result(PATIENCE_S)

    assert (same.value.code, same.value.field) == ("same_account", "target")
    assert same.value.data == sent.wait(PATIENCE_S).data


def test_a_rejection_can_be_caught_by_its_class(bank: Bank, account: UUID) -> None:
    beyond = transfer.enqueue(source=account, target=bank.open(0), amount=101, want_result=True)
    nobody = deposit.enqueue(account=uuid4(), amount=1, want_result=True)

    with pytest.raises(InsufficientFunds):
        beyond.result(PATIENCE_S)
    with pytest.raises(NotFound) as missing:
        nobody.result(PATIENCE_S)

    assert missing.value.code == "account_not_found"


def test_a_job_that_is_given_up_raises_parked() -> None:
    sent = unheard_of.enqueue(want_result=True)

    with pytest.raises(Parked) as parked:
        sent.result(PATIENCE_S)

    assert parked.value.code == "unknown_task"
    assert sent.wait(PATIENCE_S).outcome is Outcome.PARKED


def test_a_repeat_gets_the_same_answer_and_has_no_second_effect(bank: Bank, account: UUID) -> None:
    command, key = Deposit(account=account, amount=5), f"order {account}"

    answers = [deposit.enqueue(command, idempotency_key=key, want_result=True).result(PATIENCE_S) for _ in range(3)]

    assert {answer.balance for answer in answers} == {105}
    assert bank.balance(account) == 105


def test_the_same_key_with_another_payload_is_a_conflict(account: UUID) -> None:
    key = f"order {account}"
    first, other = (
        deposit.enqueue(account=account, amount=amount, idempotency_key=key, want_result=True) for amount in (5, 6)
    )

    assert first.result(PATIENCE_S).balance == 105
    with pytest.raises(Rejected) as conflict:
        other.result(PATIENCE_S)
    assert conflict.value.code == "idempotency_conflict"


# Only the end


def test_without_a_result_the_end_is_known_from_the_event_be_it_before_or_after_the_wait_began(
    account: UUID,
) -> None:
    before = deposit.enqueue(account=account, amount=5)
    deposit.enqueue(account=account, amount=6, want_result=True).result(PATIENCE_S)
    later = deposit.enqueue(account=account, amount=7, eta=datetime.now(UTC) + timedelta(seconds=1))

    ends = [sent.wait(PATIENCE_S) for sent in (before, later)]

    assert [end.outcome for end in ends] == [Outcome.SUCCEEDED] * 2
    assert [(end.data or {})["balance"] for end in ends] == [105, 118]


def test_a_rejection_is_an_end(account: UUID) -> None:
    end = transfer.enqueue(source=account, target=account, amount=1).wait(PATIENCE_S)

    assert end.outcome is Outcome.REJECTED
    assert (end.data or {})["code"] == "same_account"


def test_what_is_private_is_in_no_event_but_in_the_result() -> None:
    told = create.enqueue(name="Ada", email=f"{uuid4()}@example.org").wait(PATIENCE_S)
    answer = create.enqueue(name="Eve", email=f"{uuid4()}@example.org", want_result=True).result(PATIENCE_S)

    assert "email" not in (told.data or {})["user"]
    assert answer.user.email


def test_a_result_that_was_not_asked_for_is_not_waited_for(account: UUID) -> None:
    sent = deposit.enqueue(account=account, amount=5)

    with pytest.raises(ResultNotWanted, match="want_result=True"):
        sent.result(timeout_s=600)


@pytest.mark.parametrize("want_result", [False, True])
def test_a_wait_that_takes_too_long_ends(account: UUID, want_result: bool) -> None:  # noqa: FBT001 - a parameter
    late = datetime.now(UTC) + timedelta(hours=1)
    sent = deposit.enqueue(account=account, amount=5, want_result=want_result, eta=late)

    began = time.monotonic()
    with pytest.raises(TimeoutError, match=str(sent.job_id)):
        sent.wait(0.2)

    assert time.monotonic() - began < 5


def test_many_wait_at_once_each_for_its_own(account: UUID) -> None:
    sent = deposit.enqueue_many(Deposit(account=account, amount=1) for _ in range(20))
    ends: list[Outcome] = []

    waiting = [Thread(target=lambda one=one: ends.append(one.wait(PATIENCE_S).outcome)) for one in sent]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()

    assert ends == [Outcome.SUCCEEDED] * 20


# Other ways in


def test_the_same_key_is_one_job_from_python_from_plain_celery_and_from_the_command_line(
    servers: Urls, trivet: Run, bank: Bank, account: UUID
) -> None:
    key, payload = f"order {account}", {"account": str(account), "amount": 5}
    with Celery(broker=servers.redis, set_as_current=False) as client:
        client.send_task("accounts.deposit", kwargs=payload, queue="accounts", headers={"idempotency_key": key})
    said = trivet(
        "enqueue", "accounts.deposit", f'{{"account": "{account}", "amount": 5}}', "--key", key, "--wait", "30"
    )
    (sent,) = deposit.enqueue_many([(payload, Options(idempotency_key=key, want_result=True))])

    assert sent.result(PATIENCE_S).balance == 105
    assert (said.returncode, said.stderr) == (0, "")
    assert sent.job_id == derive_id("accounts.deposit", key)
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE id = :id", id=sent.job_id) == 1
    assert bank.balance(account) == 105
