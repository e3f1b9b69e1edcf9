"""A system whose queues have a prefix, on a Redis where others use the same names."""

import json
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tasks.accounts import deposit
from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode, wait_for
from tests.fixtures.sql import enqueue
from worker.operations.embedded import Urls

OURS, OTHER = "one:", "other:"


def send(servers: Urls, prefix: str, task: str, payload: dict[str, Any]) -> None:
    """Send a job as a plain Celery client does."""
    with Celery(broker=servers.redis, set_as_current=False) as app:
        app.conf.broker_transport_options = {"global_keyprefix": prefix}
        app.send_task(task, kwargs=payload, queue=task.partition(".")[0])


@pytest.mark.usefixtures("producing")
def test_every_way_into_the_queues_has_the_prefix_and_others_jobs_stay_where_they_are(
    bank: Bank, start_node: StartNode, servers: Urls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    redis: Any = bank.run.given.redis
    account, owner = bank.open(0), bank.user()
    payload = {"account": str(account), "amount": 1}
    monkeypatch.setenv("TRIVET_QUEUE_PREFIX", OURS)
    node = start_node(servers, "--queues=accounts,testing")

    for prefix in (OURS, OTHER, ""):
        send(servers, prefix, "accounts.deposit", payload)
    deposit.enqueue(account=account, amount=1)
    with bank.run.given.engine.begin() as connection:
        enqueue(connection, "accounts.deposit", payload)
    send(servers, OURS, "testing.follow", {"owner_id": str(owner), "times": 1})  # it enqueues a job itself
    send(servers, OURS, "testing.away", {"path": str(tmp_path / "tries"), "times": 1})  # it is tried twice

    wait_for(lambda: bank.balance(account) == 3, 10, node.log)
    wait_for(lambda: bank.value("SELECT count(*) FROM accounts WHERE owner_id = :id", id=owner) == 1, 10, node.log)
    wait_for(
        lambda: bank.rows("SELECT attempts FROM trivet.jobs WHERE task = 'testing.away'") == [(2,)], 20, node.log
    )
    assert (redis.llen("other:accounts"), redis.llen("accounts")) == (1, 1)
    assert {key.partition(b"trivet:")[0] for key in redis.scan_iter("*trivet:nodes")} == {OURS.encode()}
    assert node.stop() == 0


def test_a_prefix_that_only_celery_knows_of_stops_the_start_and_names_the_setting(
    start_node: StartNode, servers: Urls
) -> None:
    only_celery = {"broker_transport_options": {"global_keyprefix": OURS}}

    node = start_node(
        servers, wait=False, program="tests.fixtures.configured", TEST_CELERY_SETTINGS=json.dumps(only_celery)
    )

    assert node.process.wait(60) != 0
    assert "set the latter only" in node.log.read_text()
    assert "TRIVET_QUEUE_PREFIX" in node.log.read_text()
