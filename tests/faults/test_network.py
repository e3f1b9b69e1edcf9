"""Whole nodes whose links go silent, half-open or break under load."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from celery import Celery

from tests.fixtures.fleet import Fleet, loaded
from tests.fixtures.jobs import Bank, message
from tests.fixtures.load import ended, mixed, send, settle
from tests.fixtures.nodes import StartNode, WorkerNode, wait_for
from tests.fixtures.proxy import Proxy, proxied
from worker.operations.embedded import Urls

LEASE_S = 3
TAKEN_OVER_S = LEASE_S + 2
RESUMED_S = 5
POSTGRES_RESUMED_S = 10
SILENT_S = LEASE_S + 1

Start = Callable[[str], tuple[Proxy, WorkerNode]]


@pytest.fixture
def start_far(servers: Urls, start_node: StartNode) -> Iterator[Start]:
    """Start a node with a proxy in front of one of its stores."""
    opened = []

    def start(store: str) -> tuple[Proxy, WorkerNode]:
        context = proxied(getattr(servers, store))
        proxy, url = context.__enter__()
        opened.append(context)
        far = replace(servers, **{store: url})
        return proxy, start_node(far, TRIVET_LEASE_S=str(LEASE_S), TRIVET_BATCH_MAX="50")

    yield start
    for context in opened:
        context.__exit__(None, None, None)


def goes_on_s(bank: Bank, within_s: float) -> float:
    """After how many seconds one more job has ended; it must be in time."""
    before, began = ended(bank), time.monotonic()
    wait_for(lambda: ended(bank) > before, within_s)
    return time.monotonic() - began


def tell(found: str) -> None:
    """Shown with `pytest -s`."""
    sys.stdout.write(f"{found}\n")


def answers_ping(app: Celery) -> bool:
    return bool(app.control.ping(timeout=0.5, limit=1))


def parked(bank: Bank) -> int:
    count: int = bank.value("SELECT count(*) FROM trivet.jobs WHERE state = 'parked'")
    return count


@pytest.mark.parametrize("heal", [Proxy.heal, Proxy.heal_for_new_connections])
def test_a_redis_that_is_silent_for_longer_than_the_lease_costs_nothing_and_intake_and_ping_come_back(
    bank: Bank, servers: Urls, start_far: Start, heal: Callable[[Proxy], None]
) -> None:
    accounts = bank.open_many(10, 1_000)
    proxy, node = start_far("redis")

    with loaded(bank.run.given.redis, mixed(accounts, 5_000), rate=200) as load:
        wait_for(lambda: ended(bank) > 100)
        proxy.go_silent()
        time.sleep(SILENT_S)  # this long it lasts
        heal(proxy)
        resumed_s = goes_on_s(bank, RESUMED_S)
    began = time.monotonic()
    with Celery(broker=servers.redis, set_as_current=False) as app:
        wait_for(partial(answers_ping, app), RESUMED_S)
    settle(bank, load.sent)

    tell(f"{heal.__name__}: intake after {resumed_s:.2f} s, ping {time.monotonic() - began:.2f} s later")
    assert parked(bank) == 0
    wait_for(lambda: Fleet(bank.run.given.redis, lambda: node).in_hand() == {}, 2 * TAKEN_OVER_S)
    assert node.stop() == 0


def test_a_node_whose_redis_stays_silent_is_relieved_by_another_within_the_lease_and_two_seconds(
    bank: Bank, servers: Urls, start_far: Start, start_node: StartNode
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 2_000)
    proxy, cut_off = start_far("redis")
    start_node(servers, TRIVET_LEASE_S=str(LEASE_S), TRIVET_BATCH_MAX="50")
    fleet = Fleet(bank.run.given.redis, lambda: cut_off)

    send(bank, jobs)
    wait_for(lambda: ended(bank) > 100)
    proxy.go_silent()
    began = time.monotonic()
    wait_for(lambda: fleet.in_hand() == {} and ended(bank) == len(jobs), 30)
    relieved_s = time.monotonic() - began
    settle(bank, len(jobs))

    tell(f"relieved after {relieved_s:.2f} s")
    assert relieved_s <= TAKEN_OVER_S + 1
    assert parked(bank) == 0
    assert cut_off.stop(20) == 0  # also while Redis is silent


def test_a_postgresql_that_is_silent_and_back_costs_nothing_and_jobs_go_on_within_ten_seconds(
    bank: Bank, start_far: Start
) -> None:
    accounts = bank.open_many(10, 1_000)
    proxy, node = start_far("postgres")

    with loaded(bank.run.given.redis, mixed(accounts, 5_000), rate=200) as load:
        wait_for(lambda: ended(bank) > 100)
        proxy.go_silent()
        time.sleep(SILENT_S)  # this long it lasts
        proxy.heal()
        resumed_s = goes_on_s(bank, POSTGRES_RESUMED_S)
    settle(bank, load.sent)

    tell(f"jobs after {resumed_s:.2f} s")
    assert parked(bank) == 0
    assert node.stop() == 0


def test_commits_whose_answers_never_came_take_effect_once(bank: Bank, start_far: Start) -> None:
    accounts = bank.open_many(10, 1_000)
    proxy, node = start_far("postgres")

    with loaded(bank.run.given.redis, mixed(accounts, 5_000), rate=200) as load:
        for turn in range(1, 6):
            proxy.cut_commits(1)
            wait_for(partial(lambda turn: proxy.cuts == turn, turn), 10)
            goes_on_s(bank, POSTGRES_RESUMED_S)
    settle(bank, load.sent)

    assert parked(bank) == 0
    assert node.stop() == 0


def test_a_silent_mongodb_holds_up_neither_jobs_nor_results_and_its_documents_follow(
    bank: Bank, start_far: Start
) -> None:
    accounts = bank.open_many(10, 1_000)
    proxy, node = start_far("mongo")
    wanted = message("accounts.deposit", {"account": accounts[0], "amount": 1}, want_result=True)
    jobs = [*mixed(accounts, 500), wanted]

    proxy.go_silent()
    send(bank, jobs)
    wait_for(lambda: ended(bank) == len(jobs), 30)
    # The turn before it may wait for MongoDB: an answer that does not come, twice.
    wait_for(lambda: bank.run.given.redis.exists(f"celery-task-meta-{wanted.task_id}"), 20)
    owed = bank.value("SELECT count(*) FROM trivet.outbox")
    proxy.heal()
    settle(bank, len(jobs))

    assert owed > 0
    assert parked(bank) == 0
    assert node.stop() == 0
