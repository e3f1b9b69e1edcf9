"""Claims: whoever comes, how often and from wherever, a job takes effect once and keeps its first ending."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from sqlalchemy.exc import OperationalError

from tests.fixtures.jobs import Bank, Runner, message
from worker import Command, Result, UnitOfWork, job
from worker.errors import Outcome
from worker.execution import batch
from worker.execution.attempt import Ending
from worker.messages import Message, derive_id, job_id
from worker.settings import Settings
from worker.stores.resources import Resources

RESULT_MAX = 64 * 1024
TRANSFER = "accounts.transfer"


class Say(Command):
    """Answer with so many bytes."""

    size: int


class Said(Result):
    """The answer."""

    text: str


@job("testing.say")
def say(command: Say, _work: UnitOfWork) -> Said:
    return Said(text="x" * command.size)


class Meet(Command):
    """Run beside another node that runs the same job."""


class Met(Result):
    """How many ran it."""

    number: int


MEETING: list[Callable[[], object]] = []


@job("testing.meet")
def meet(_command: Meet, _work: UnitOfWork) -> Met:
    if not MEETING:
        return Met(number=2)
    MEETING.pop()()
    return Met(number=1)


@pytest.fixture
def nodes(settings: Settings, bank: Bank) -> Iterator[list[Runner]]:
    """Two nodes with clients of their own, each for one thread."""
    runners = [Runner(Resources.open(settings)) for _ in range(2)]
    yield runners
    for runner in runners:
        runner.node.close()
        runner.given.close()


def side_by_side(
    nodes: Sequence[Runner], rounds: Sequence[Sequence[Sequence[Message]]]
) -> list[list[list[Ending]]]:
    """Each node runs its batch of each round, all starting a round at the same moment."""
    start = Barrier(len(nodes))

    def work(number: int) -> list[list[Ending]]:
        endings = []
        for batches in rounds:
            start.wait(30)
            endings.append(nodes[number](*batches[number]))
        return endings

    with ThreadPoolExecutor(len(nodes)) as threads:
        return list(threads.map(work, range(len(nodes))))


def deadlocks(*runners: Runner) -> int:
    """As PostgreSQL counts them, after the sessions of these have been made to report theirs."""
    for runner in runners:
        assert runner.given.engine.pool.checkedin() <= 1, "each session must report: a pool hands out one"  # type: ignore[attr-defined]
        with runner.given.engine.begin() as connection:
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    with runners[0].given.engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
        counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(connection.exec_driver_sql(counted).scalar_one())


def transfers(random_: random.Random, accounts: Sequence[UUID], count: int) -> list[Message]:
    made = []
    for _ in range(count):
        source, target = random_.sample(accounts, 2)
        made.append(message(TRANSFER, {"source": source, "target": target, "amount": random_.randint(1, 40)}))
    return made


def settle(bank: Bank, nodes: Sequence[Runner]) -> None:
    for runner in (*nodes, bank.run):
        runner.deliver_all()


def test_two_nodes_with_the_same_jobs_in_another_order_take_each_job_once(bank: Bank, nodes: list[Runner]) -> None:
    random_ = random.Random(1)
    accounts = bank.open_many(10, 500)
    rounds = []
    for _ in range(20):
        jobs = transfers(random_, accounts, 50)
        rounds.append([random_.sample(jobs, 40), random_.sample(jobs, 40)])
    before = deadlocks(*nodes)

    endings = side_by_side(nodes, rounds)

    settle(bank, nodes)
    said: dict[UUID, set[str]] = {}
    for number, node_endings in enumerate(endings):
        for batches, batch_endings in zip(rounds, node_endings, strict=True):
            for sent, ending in zip(batches[number], batch_endings, strict=True):
                said.setdefault(job_id(sent), set()).add(str((ending.outcome, sorted(ending.data.items()))))
    assert {len(answers) for answers in said.values()} == {1}
    assert sum(map(bank.balance, accounts)) == 5_000
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE task = :task", task=TRANSFER) == len(said)
    moved = bank.value(
        "SELECT count(DISTINCT movement_id) FROM ledger_entries WHERE amount < 0 AND account_id IS NOT NULL"
    )
    assert moved == bank.value(
        "SELECT count(*) FROM trivet.jobs WHERE task = :t AND state = 'succeeded'", t=TRANSFER
    )
    assert bank.rows("SELECT movement_id FROM ledger_entries GROUP BY movement_id HAVING count(*) <> 2") == []
    assert deadlocks(*nodes) == before
    bank.check()


def test_the_count_of_deadlocks_that_these_tests_rely_on_tells_of_one(bank: Bank, nodes: list[Runner]) -> None:
    accounts, met = bank.open_many(2, 0), Barrier(2)
    before = deadlocks(*nodes)

    def lock(number: int) -> bool:
        try:
            with nodes[number].given.engine.begin() as connection:
                for account in (accounts[number], accounts[1 - number]):
                    connection.exec_driver_sql("SELECT FROM accounts WHERE id = %s FOR UPDATE", (account,))
                    if account == accounts[number]:
                        met.wait(30)
        except OperationalError:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        won = list(threads.map(lock, range(2)))

    assert sorted(won) == [False, True]
    assert deadlocks(*nodes) == before + 1


def test_deposits_and_transfers_of_two_nodes_on_the_same_accounts_do_not_deadlock(
    bank: Bank, nodes: list[Runner]
) -> None:
    random_ = random.Random(2)
    accounts = bank.open_many(4, 1_000)
    rounds = []
    for number in range(20):
        deposits = [
            message("accounts.deposit", {"account": random_.choice(accounts), "amount": 1}) for _ in range(30)
        ]
        batches = [deposits, transfers(random_, accounts, 30)]
        rounds.append(batches if number % 2 else batches[::-1])
    before = deadlocks(*nodes)

    endings = side_by_side(nodes, rounds)

    settle(bank, nodes)
    outcomes = {ending.outcome for node in endings for batch in node for ending in batch}
    assert outcomes <= {Outcome.SUCCEEDED, Outcome.REJECTED}
    assert sum(map(bank.balance, accounts)) == 4_000 + 20 * 30
    assert deadlocks(*nodes) == before
    bank.check()


def test_two_nodes_that_claim_the_same_ids_from_opposite_ends_do_not_deadlock(
    bank: Bank, nodes: list[Runner]
) -> None:
    nowhere = uuid4()
    rounds = []
    for _ in range(6):
        jobs = [message("accounts.deposit", {"account": nowhere, "amount": 1}) for _ in range(400)]
        rounds.append([jobs, jobs[::-1]])
    before = deadlocks(*nodes)

    first, second = side_by_side(nodes, rounds)

    assert first == [batch[::-1] for batch in second]
    assert bank.rows("SELECT state, count(*) FROM trivet.jobs GROUP BY state") == [("rejected", 2_400)]
    assert deadlocks(*nodes) == before
    settle(bank, nodes)
    bank.check()


def test_accounts_opened_by_two_nodes_for_the_same_users_are_opened_once(bank: Bank, nodes: list[Runner]) -> None:
    random_ = random.Random(3)
    owners = [bank.user() for _ in range(3)]
    rounds = []
    for _ in range(10):
        opened = [
            message("accounts.open", {"owner_id": random_.choice(owners), "currency": "EUR", "opening_balance": 7})
            for _ in range(30)
        ]
        rounds.append([random_.sample(opened, 30), random_.sample(opened, 30)])
    before = deadlocks(*nodes)

    endings = side_by_side(nodes, rounds)

    settle(bank, nodes)
    assert {ending.outcome for node in endings for batch in node for ending in batch} == {Outcome.SUCCEEDED}
    assert bank.rows("SELECT count(*), sum(balance) FROM accounts") == [(300, 2_100)]
    assert deadlocks(*nodes) == before
    bank.check()


def test_users_with_the_same_email_addresses_in_opposite_order_on_two_nodes_are_created_once(
    bank: Bank, nodes: list[Runner]
) -> None:
    rounds = []
    for number in range(5):
        payloads = [{"name": "Ada", "email": f"{n}.{number}@example.org"} for n in range(20)]
        there = [message("users.create", payload) for payload in payloads]
        back = [message("users.create", payload) for payload in reversed(payloads)]
        rounds.append([there, back])

    endings = side_by_side(nodes, rounds)

    settle(bank, nodes)
    outcomes = [ending.outcome.value for node in endings for batch in node for ending in batch]
    assert (outcomes.count("succeeded"), outcomes.count("rejected")) == (100, 100)
    assert bank.value("SELECT count(*) FROM users") == 100
    bank.check()


def test_of_two_payloads_under_one_id_on_two_nodes_one_wins_and_the_other_is_refused(
    bank: Bank, nodes: list[Runner]
) -> None:
    accounts = bank.open_many(2, 10_000)
    rounds = []
    for _ in range(10):
        ids = [uuid4() for _ in range(10)]
        payload = {"source": accounts[0], "target": accounts[1]}
        batches = [[message(TRANSFER, payload | {"amount": amount}, i) for i in ids] for amount in (1, 2)]
        rounds.append([batches[0], batches[1][::-1]])

    first, second = side_by_side(nodes, rounds)

    settle(bank, nodes)
    for one, other in zip(first, second, strict=True):
        for ending, opposite in zip(one, other[::-1], strict=True):
            winner, refused = sorted((ending, opposite), key=lambda e: e.outcome != Outcome.SUCCEEDED)
            assert (winner.outcome, refused.data.get("code")) == (Outcome.SUCCEEDED, "idempotency_conflict")
    assert bank.rows("SELECT movement_id FROM ledger_entries GROUP BY movement_id HAVING count(*) <> 2") == []
    assert bank.value("SELECT count(*) FROM trivet.job_conflicts") == 100
    bank.check()


def test_a_retrying_job_that_two_nodes_take_at_once_runs_on_one(
    bank: Bank, nodes: list[Runner], tmp_path: Path
) -> None:
    paths = [tmp_path / str(number) for number in range(400)]
    jobs = [message("testing.fail", {"path": str(path), "times": 1}) for path in paths]
    bank.run(*jobs)
    rounds = [[jobs[n : n + 40], jobs[n : n + 40][::-1]] for n in range(0, 400, 40)]

    first, second = side_by_side(nodes, rounds)

    assert first == [batch[::-1] for batch in second]
    assert {ending.outcome for batch in first for ending in batch} == {Outcome.SUCCEEDED}
    assert {path.stat().st_size for path in paths} == {2}
    settle(bank, nodes)
    bank.check()


def test_one_key_is_one_job_for_one_task_and_another_for_another(bank: Bank) -> None:
    account = bank.open(100)
    deposit = message("accounts.deposit", {"account": account, "amount": 5}, idempotency_key="order-42")
    same = Message(deposit.task, str(uuid4()), deposit.body, headers=deposit.headers)
    other = message("users.create", {"name": "Ada", "email": "ada@example.org"}, idempotency_key="order-42")

    endings = bank.run(deposit, same) + bank.run(other)

    assert [ending.outcome.value for ending in endings] == ["succeeded"] * 3
    assert bank.balance(account) == 105
    ids = {row.id for row in bank.rows("SELECT id FROM trivet.jobs")}
    assert ids >= {derive_id("accounts.deposit", "order-42"), derive_id("users.create", "order-42")}


def test_an_id_that_another_task_has_taken_is_refused(bank: Bank) -> None:
    account, taken = bank.open(100), uuid4()
    bank.run(message("accounts.deposit", {"account": account, "amount": 5}, taken))

    (ending,) = bank.run(message("accounts.transfer", {"account": account, "amount": 5}, taken))

    assert ending.data["code"] == "idempotency_conflict"
    assert bank.rows("SELECT task, state FROM trivet.jobs WHERE id = :id", id=taken) == [
        ("accounts.deposit", "succeeded")
    ]


def test_payloads_that_differ_in_form_alone_are_the_same_payload(bank: Bank) -> None:
    account, task_id = bank.open(100), uuid4()
    forms = [
        f'[[], {{"account": "{account}", "amount": 5}}, {{}}]',
        f'[[],{{"amount":5,"account":"{account}"}},{{"chain":null}}]',
        f'[[], {{"\\u0061mount": 5,\n "account": "{account}"}}, {{}}]',
    ]

    endings = [bank.run(message("accounts.deposit", form.encode(), task_id))[0] for form in forms]

    assert {ending.outcome for ending in endings} == {Outcome.SUCCEEDED}
    assert bank.balance(account) == 105


def test_the_same_payload_under_a_better_header_is_no_other_payload(bank: Bank) -> None:
    account, task_id = bank.open(100), uuid4()
    payload = {"account": account, "amount": 5}
    (first,) = bank.run(message("accounts.deposit", payload, task_id, deadline="tomorrow"))

    (again,) = bank.run(message("accounts.deposit", payload, task_id))

    assert first.data["code"] == "invalid_payload"
    assert again == first
    assert bank.value("SELECT count(*) FROM trivet.job_conflicts") == 0


def results(bank: Bank, *sent: Message) -> list[str | None]:
    """What is stored for each message: its status, or the code of its rejection."""
    found = []
    for one in sent:
        stored: Any = bank.run.given.redis.get(f"celery-task-meta-{one.task_id}")
        meta: dict[str, Any] = orjson.loads(stored) if stored else {"status": None}
        found.append(meta["result"]["exc_message"][0] if meta["status"] == "FAILURE" else meta["status"])
    return found


@pytest.mark.parametrize("batches", [1, 4], ids=["in one batch", "one after the other"])
def test_each_message_that_wants_a_result_gets_its_own(bank: Bank, batches: int) -> None:
    account = bank.open(100)
    sent = [
        message("accounts.deposit", {"account": account, "amount": n}, idempotency_key="k", want_result=True)
        for n in (5, 5, 6, 6)
    ]

    for group in [sent] if batches == 1 else [[one] for one in sent]:
        bank.run(*group)

    assert results(bank, *sent) == ["SUCCESS", "SUCCESS", "idempotency_conflict", "idempotency_conflict"]
    assert bank.balance(account) == 105
    bank.check()


def test_a_refused_message_does_not_hide_the_result_of_the_job_whose_task_id_it_has(bank: Bank) -> None:
    account, task_id = bank.open(100), uuid4()
    first, other = [
        message("accounts.deposit", {"account": account, "amount": n}, task_id, want_result=True) for n in (5, 6)
    ]

    bank.run(first, other)
    bank.run(other)

    assert results(bank, first) == ["SUCCESS"]


@pytest.mark.parametrize("size", [60_000, RESULT_MAX + 1, 4 * RESULT_MAX])
def test_no_result_is_stored_that_is_larger_than_64_kib(bank: Bank, size: int) -> None:
    sent = message("testing.say", {"size": size}, want_result=True)

    bank.run(sent)

    stored: Any = bank.run.given.redis.get(f"celery-task-meta-{sent.task_id}")
    assert len(stored or b"") <= RESULT_MAX + 1024, "the result and its envelope"
    assert (results(bank, sent) == ["SUCCESS"]) == (size < RESULT_MAX)


def test_of_two_nodes_that_run_one_job_at_once_the_first_to_commit_counts(
    bank: Bank, nodes: Sequence[Runner]
) -> None:
    same, neighbour = message("testing.meet", {}), message("testing.meet", {})
    MEETING.append(lambda: nodes[1](same))

    endings = nodes[0](same, neighbour)

    assert [ending.data for ending in endings] == [{"number": 2}] * 2
    assert bank.rows("SELECT state, attempts FROM trivet.jobs") == [("succeeded", 1)] * 2
    settle(bank, nodes)
    assert bank.run.given.redis.xlen("events") == 2


def test_of_two_nodes_that_give_up_one_job_at_once_the_second_finds_what_the_first_wrote(
    bank: Bank, nodes: Sequence[Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobodys = message("nobody.knows", {})
    meeting = [lambda: batch.park(nobodys, "unknown_task", "nobody knows it", nodes[1].given)]
    monkeypatch.setattr(
        batch, "crash_point", lambda point: meeting.pop()() if point == "after_claim" and meeting else None
    )

    done = batch.park(nobodys, "unknown_task", "nobody knows it", nodes[0].given)

    assert [attempt.ended.outcome for attempt in done.attempts] == ["parked"]
    assert bank.rows("SELECT state, attempts FROM trivet.jobs") == [("parked", 1)]
    settle(bank, nodes)
