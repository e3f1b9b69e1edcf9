"""Two systems on one Redis, each below its own `global_keyprefix`, as a `celeryconfig.py` sets it."""

import json
from typing import Any

from celery import Celery

from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode, wait_for
from worker.operations.embedded import Urls

PREFIXES = ("one:", "other:")


def settings(prefix: str) -> dict[str, Any]:
    return {"broker_transport_options": {"global_keyprefix": prefix}}


def test_two_prefixed_systems_on_one_redis_do_not_see_each_others_jobs(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    account = bank.open(0)
    redis: Any = bank.run.given.redis
    payload = {"account": str(account), "amount": 1}
    sent = {}

    node = start_node(
        servers, program="tests.fixtures.configured", TEST_CELERY_SETTINGS=json.dumps(settings(PREFIXES[0]))
    )
    for prefix in (*PREFIXES, ""):
        app = Celery(broker=servers.redis, set_as_current=False)
        app.conf.update(settings(prefix))
        sent[prefix] = app.send_task("accounts.deposit", kwargs=payload, queue="accounts").id
        app.close()
    wait_for(lambda: bank.rows("SELECT FROM trivet.jobs WHERE task_id = :id", id=sent[PREFIXES[0]]), 10)

    assert bank.balance(account) == 1
    assert (redis.llen("other:accounts"), redis.llen("accounts")) == (1, 1)
    assert {key.partition(b"trivet:")[0] for key in redis.scan_iter("*trivet:nodes")} == {b"one:"}
    assert node.stop() == 0
