"""Jobs accepted through PostgreSQL, with real nodes: whatever Redis loses, just what was committed runs, once."""

import os
import signal
import threading
from uuid import UUID

from sqlalchemy import Connection

from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode, wait_for
from tests.fixtures.sql import enqueue
from worker.operations.embedded import Urls

JOBS = 1_000
WAVES = 10


def enqueue_half(connection: Connection, accounts: list[UUID], count: int) -> set[UUID]:
    """Enqueue in transactions of one to five jobs, of which every second is rolled back; what was committed."""
    committed: set[UUID] = set()
    for number in range(0, count, 5):
        jobs = {
            enqueue(connection, "accounts.deposit", {"account": account, "amount": 1})
            for account in accounts[number % 10 : number % 10 + 5]
        }
        if number % 10:
            connection.rollback()
        else:
            connection.commit()
            committed |= jobs
    return committed


def ended(bank: Bank, jobs: set[UUID]) -> int:
    found: int = bank.value(
        "SELECT count(*) FROM trivet.jobs WHERE ended_at IS NOT NULL AND id = ANY(:ids)", ids=list(jobs)
    )
    return found


def test_when_redis_is_emptied_just_the_committed_half_runs_once_each(
    bank: Bank, servers: Urls, start_node: StartNode
) -> None:
    redis, accounts = bank.run.given.redis, bank.open_many(10, 0)
    nodes = [start_node(servers, concurrency=2) for _ in range(2)]
    committed: set[UUID] = set()

    with bank.run.given.engine.connect() as connection:
        for wave in range(WAVES):
            committed |= enqueue_half(connection, accounts, JOBS // WAVES)
            if wave % 3 == 1:
                wait_for(lambda: redis.exists("trivet:sent"), 10, nodes[0].log)
                redis.flushall()
    wait_for(lambda: ended(bank, committed) == len(committed), 60, nodes[0].log)
    wait_for(lambda: bank.value("SELECT count(*) = 0 FROM trivet.outbox"), 30, nodes[0].log)

    deposits = "SELECT id, attempts, state FROM trivet.jobs WHERE task = 'accounts.deposit'"
    assert {(row.id, row.attempts, row.state) for row in bank.rows(deposits)} == {
        (job, 1, "succeeded") for job in committed
    }
    assert len(committed) == JOBS / 2
    assert sum(bank.balance(account) for account in accounts) == JOBS / 2
    wait_for(lambda: len({event["id"] for event in bank.events()}) >= len(committed), 30, nodes[0].log)
    bank.check()


def test_a_node_goes_on_sending_when_the_process_that_did_it_is_killed(
    bank: Bank, servers: Urls, start_node: StartNode
) -> None:
    (account,) = bank.open_many(1, 0)
    node = start_node(servers, concurrency=2)
    jobs: set[UUID] = set()

    for pid in node.pool_pids():
        os.kill(pid, signal.SIGKILL)
        with bank.run.given.engine.begin() as connection:
            jobs.add(enqueue(connection, "accounts.deposit", {"account": account, "amount": 1}))
        wait_for(lambda: ended(bank, jobs) == len(jobs), 20, node.log)

    assert bank.balance(account) == 2


def test_jobs_of_several_nodes_are_numbered_without_a_gap_in_healthy_operation(
    bank: Bank, servers: Urls, start_node: StartNode
) -> None:
    accounts = bank.open_many(10, 0)
    nodes = [start_node(servers, concurrency=2) for _ in range(2)]
    committed: set[UUID] = set()

    def produce() -> None:
        with bank.run.given.engine.connect() as connection:
            committed.update(enqueue_half(connection, accounts, 400))

    threads = [threading.Thread(target=produce) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: ended(bank, committed) == 400, 60, nodes[0].log)

    numbers = [row.sent for row in bank.rows("SELECT sent FROM trivet.jobs WHERE sent IS NOT NULL ORDER BY sent")]
    assert numbers == list(range(1, 401))
