"""Whole nodes on real servers, under load, while something is killed."""

import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.jobs import Bank, Runner, message, settings_for
from tests.fixtures.load import ended, enough, expected_deposits, mixed, send, settle
from tests.fixtures.nodes import StartNode, WorkerNode, wait_for
from worker.envelopes import envelope
from worker.operations.embedded import Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources


@pytest.fixture
def own_bank(own_servers: Stack) -> Iterator[Bank]:
    """A bank on servers that the test may kill."""
    given = Resources.open(settings_for(own_servers.urls))
    migrate(given)
    bank = Bank(Runner(given))
    yield bank
    bank.run.node.close()
    given.close()


def test_two_nodes_on_ten_hot_accounts_get_the_totals_right_without_a_deadlock(
    bank: Bank, start_node: StartNode, servers: Any
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 1_500)
    twice = jobs + jobs
    random.Random(2).shuffle(twice)
    deadlocks = bank.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    nodes = [start_node(servers, concurrency=2, wait=False) for _ in range(2)]
    for node in nodes:
        node.wait_ready()
    send(bank, twice)
    settle(bank, len(jobs))

    assert bank.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == deadlocks
    entries = bank.value("SELECT count(*) FROM ledger_entries WHERE account_id IS NULL")
    assert entries == 10 + expected_deposits(jobs)
    assert all(node.stop() == 0 for node in nodes)


def test_killed_pool_processes_lose_nothing_and_repeat_nothing(
    bank: Bank, start_node: StartNode, servers: Any
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 1_500)
    node = start_node(servers)

    send(bank, jobs)
    for share in (200, 600, 1_000):
        wait_for(partial(enough, bank, share))
        os.kill(node.pool_pids()[0], signal.SIGKILL)
    settle(bank, len(jobs))

    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE state = 'parked'") == 0
    assert node.stop() == 0


def test_a_job_that_kills_its_process_harms_no_neighbour(
    bank: Bank, start_node: StartNode, servers: Any, tmp_path: Any
) -> None:
    account = bank.open(0)
    deadly = message("testing.kill", {"path": str(tmp_path / "deaths"), "times": 2})
    deposits = [message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(200)]
    node = start_node(servers)

    with bank.run.given.redis.pipeline() as pipe:
        for one in [*deposits, deadly]:
            pipe.lpush("accounts", envelope(one))
        pipe.execute()
    wait_for(lambda: bank.value("SELECT count(*) FROM trivet.jobs WHERE state = 'succeeded'") == 203)

    assert bank.balance(account) == 200
    assert node.stop() == 0


@pytest.mark.parametrize("victim", ["postgres", "mongo"])
def test_a_killed_store_delays_the_work_and_changes_nothing(
    own_bank: Bank, own_servers: Stack, start_node: StartNode, victim: str
) -> None:
    accounts = own_bank.open_many(10, 1_000)
    jobs = mixed(accounts, 1_500)
    node: WorkerNode = start_node(own_servers.urls)
    server = getattr(own_servers, victim)

    send(own_bank, jobs[:1_000])
    wait_for(lambda: ended(own_bank) > 100)
    server.kill()
    send(own_bank, jobs[1_000:])
    server.start()
    settle(own_bank, len(jobs))

    assert own_bank.value("SELECT count(*) FROM trivet.jobs WHERE state = 'parked'") == 0
    assert node.stop() == 0


def test_a_node_starts_no_more_while_too_much_is_owed_and_goes_on_by_itself(
    own_bank: Bank, own_servers: Stack, start_node: StartNode
) -> None:
    accounts = own_bank.open_many(10, 1_000)
    jobs = mixed(accounts, 1_500)
    node = start_node(own_servers.urls, TRIVET_OWED_MAX="100", TRIVET_BATCH_MAX="50")

    own_servers.mongo.kill()
    send(own_bank, jobs)
    wait_for(lambda: "intake.paused" in node.log.read_text(), 30, node.log)
    time.sleep(1)  # what had started is over
    paused_at = ended(own_bank)
    time.sleep(2)
    still_at = ended(own_bank)
    own_servers.mongo.start()
    settle(own_bank, len(jobs))

    assert paused_at == still_at < len(jobs)
    assert "intake.resumed" in node.log.read_text()
    assert node.stop() == 0


def test_a_node_waits_for_stores_that_are_down_at_its_start(own_servers: Stack, start_node: StartNode) -> None:
    urls = own_servers.urls
    given = Resources.open(settings_for(urls))
    migrate(given)
    own_servers.postgres.stop()

    node = start_node(urls, wait=False)
    wait_for(lambda: "store.away" in node.log.read_text())
    own_servers.postgres.start()
    node.wait_ready()

    user = message("users.create", {"name": "Ada", "email": "ada@example.org"}, uuid4())
    given.redis.lpush("users", envelope(user))
    bank = Bank(Runner(given))
    wait_for(lambda: bank.value("SELECT count(*) FROM users") == 1)
    assert node.stop() == 0
    bank.run.node.close()
    given.close()


def test_a_node_outlives_redis_and_delivers_what_was_owed_meanwhile(
    own_bank: Bank, own_servers: Stack, start_node: StartNode
) -> None:
    accounts = own_bank.open_many(10, 1_000)
    jobs = mixed(accounts, 400)
    node = start_node(own_servers.urls)
    send(own_bank, jobs[:200])
    wait_for(lambda: ended(own_bank) == 200)

    own_servers.redis.kill()
    own_bank.run(*jobs[200:])  # a producer's own copy: what they owe stays owed until Redis is back
    owed = own_bank.value("SELECT count(*) FROM trivet.outbox")
    own_servers.redis.start()
    settle(own_bank, len(jobs))

    assert owed > 0
    assert node.stop() == 0
