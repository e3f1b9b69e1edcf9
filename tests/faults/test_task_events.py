"""What those who watch with Celery's own tools see of jobs that run in batches."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, signature

from tests.fixtures.jobs import Bank, message
from tests.fixtures.load import mixed, send, settle
from tests.fixtures.nodes import StartNode, wait_for
from tests.fixtures.watching import Watcher, switch_on, watching
from worker.envelopes import envelope, queue_of
from worker.messages import Message
from worker.operations.embedded import Urls

QUEUES = "--queues=users,accounts,testing"
ENDS = ("task-succeeded", "task-failed")
STATES = {"succeeded": "SUCCESS", "rejected": "FAILURE", "parked": "FAILURE"}


@pytest.fixture
def client(servers: Urls) -> Iterator[Celery]:
    """A Celery client that knows nothing of this package."""
    with closing(Celery(broker=servers.redis, set_as_current=False)) as app:
        yield app


@pytest.fixture
def watcher(client: Celery, bank: Bank, start_node: StartNode, servers: Urls) -> Iterator[Watcher]:
    """Watches one node, from which nobody has asked for task events yet."""
    start_node(servers, QUEUES, TRIVET_LEASE_S="15")
    with watching(client) as watcher:
        yield watcher


def push(bank: Bank, *messages: Message) -> list[str]:
    """Send as a Celery client does; returns the task ids."""
    for one in messages:
        bank.run.given.redis.lpush(queue_of(one.task), envelope(one))
    return [one.task_id for one in messages]


def publishes(bank: Bank) -> int:
    """How often anybody has published anything."""
    stats: Any = bank.run.given.redis.info("commandstats")
    return int(stats.get("cmdstat_publish", {"calls": 0})["calls"])


def test_every_ended_job_shows_its_state_and_its_events_came_in_order(
    bank: Bank, client: Celery, watcher: Watcher
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 500)
    switch_on(client)

    send(bank, jobs)
    settle(bank, 500)
    ledger = {
        row.task_id: row
        for row in bank.rows("SELECT task_id, state, data->>'code' AS code FROM trivet.jobs")
        if row.task_id in {job.task_id for job in jobs}
    }
    expected = {task_id: STATES[row.state] for task_id, row in ledger.items()}
    wait_for(lambda: watcher.states() == expected, 10)

    assert set(expected.values()) == {"SUCCESS", "FAILURE"}
    for task_id, row in ledger.items():
        last = "task-succeeded" if row.state == "succeeded" else "task-failed"
        assert watcher.of(task_id) == ["task-received", "task-started", last]
    failed = {event["uuid"]: event["exception"] for event in watcher.events if event["type"] == "task-failed"}
    assert failed == {i: f"JobRejected({row.code!r})" for i, row in ledger.items() if row.state == "rejected"}
    assert all(event["runtime"] > 0 for event in watcher.events if event["type"] in ENDS)


def test_a_batch_of_500_costs_few_publishes(bank: Bank, client: Celery, watcher: Watcher) -> None:
    (account,) = bank.open_many(1, 0)
    jobs = [message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(500)]
    switch_on(client)
    before = publishes(bank)

    send(bank, jobs)
    wait_for(lambda: len(watcher.events) == 3 * len(jobs))
    settle(bank, 500)

    assert watcher.bulks <= 15
    assert publishes(bank) - before - len(jobs) <= 25  # a completion event each, and some heartbeats


def test_no_event_holds_a_value_of_a_payload_or_of_a_result(bank: Bank, client: Celery, watcher: Watcher) -> None:
    canary = "canary-7f3a"
    follower = signature("users.create", kwargs={"name": canary, "email": f"{canary}@b.org"}, app=client)
    sent = {"queue": "users", "argsrepr": canary, "kwargsrepr": canary}
    switch_on(client)

    ordinary = client.send_task("users.create", kwargs={"name": canary, "email": f"{canary}@a.org"}, **sent)
    wait_for(lambda: "task-succeeded" in watcher.of(ordinary.id))
    taken = client.send_task("users.create", kwargs={"name": canary, "email": f"{canary}@a.org"}, **sent)
    wrong = client.send_task("users.create", kwargs={canary: canary}, **sent)
    options = {"queue": "users", "link": follower.set(queue="users", immutable=True)}
    special = client.send_task(
        "users.create", kwargs={"name": canary, "email": f"{canary}@c.org"}, **sent | options
    )
    failing = client.send_task("users.create", kwargs={"name": canary, canary: canary}, **sent | options)
    ends = {ordinary.id: "SUCCESS", taken.id: "FAILURE", wrong.id: "FAILURE"}
    ends |= {special.id: "SUCCESS", failing.id: "FAILURE"}
    wait_for(lambda: ends.items() <= watcher.states().items() and len(watcher.states()) == 6, 10)

    assert canary not in repr(watcher.events)
    assert watcher.of(special.id) == ["task-received", "task-started", "task-succeeded"]


def test_nothing_is_sent_until_somebody_switches_task_events_on(
    bank: Bank, client: Celery, watcher: Watcher
) -> None:
    (account,) = bank.open_many(1, 0)
    unseen = [message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(20)]
    seen = [message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(20)]

    send(bank, unseen)
    settle(bank, 20)
    switch_on(client)
    send(bank, seen)
    wait_for(lambda: len(watcher.events) == 3 * len(seen))

    assert watcher.states() == {job.task_id: "SUCCESS" for job in seen}


def test_a_node_may_send_task_events_from_its_start(
    bank: Bank, client: Celery, start_node: StartNode, servers: Urls
) -> None:
    start_node(servers, QUEUES, "-E", TRIVET_LEASE_S="15")

    with watching(client) as watcher:
        (task_id,) = push(bank, message("testing.answer", {"length": 1}))
        wait_for(lambda: watcher.states() == {task_id: "SUCCESS"}, 10)


def test_each_way_to_end_has_its_own_event(bank: Bank, client: Celery, watcher: Watcher, tmp_path: Path) -> None:
    account = str(bank.open(0))
    payload = {"account": account, "amount": 1}
    switch_on(client)

    (failing,) = push(bank, message("testing.fail", {"path": str(tmp_path / "fails"), "times": 1}))
    (unknown,) = push(bank, message("accounts.abolish", payload))
    expired = client.send_task("accounts.deposit", kwargs=payload, queue="accounts", expires=-1).id
    revoked = client.send_task("accounts.deposit", kwargs=payload, queue="accounts", countdown=3).id
    client.control.revoke(revoked, reply=True)
    tries = ["task-received", "task-started", "task-retried", "task-received", "task-started", "task-succeeded"]
    wait_for(lambda: watcher.of(failing) == tries)
    wait_for(lambda: watcher.states()[revoked] == "REVOKED")

    assert watcher.states() == {
        failing: "SUCCESS",
        unknown: "FAILURE",
        expired: "REVOKED",
        revoked: "REVOKED",
    }
    tasks = watcher.state.tasks
    assert tasks[unknown].exception == "JobParked('unknown_task')"
    assert tasks[failing].exception is None  # of the try that failed
    assert (tasks[expired].expired, tasks[revoked].expired) == (True, False)


def test_the_totals_of_celery_count_jobs_in_batches(bank: Bank, client: Celery, watcher: Watcher) -> None:
    (account,) = bank.open_many(1, 0)
    jobs = [message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(20)]

    send(bank, jobs)
    settle(bank, 20)
    push(bank, message("testing.wait", {"seconds": 8}, uuid4()))
    wait_for(lambda: (watcher.worker.processed, watcher.worker.active) == (20, 1), 10)
    (stats,) = client.control.inspect(timeout=10, limit=1).stats().values()
    wait_for(lambda: (watcher.worker.processed, watcher.worker.active) == (21, 0))

    assert stats["total"] == {"accounts.deposit": 20}
