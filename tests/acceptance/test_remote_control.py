"""What operators do with Celery's own tools while jobs are gathered in batches."""

import signal
from typing import Any
from uuid import uuid4

from celery import Celery

from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import StartNode, wait_for
from worker.envelopes import envelope
from worker.operations.embedded import Urls


def test_celerys_own_tools_show_gathered_jobs_and_a_revoked_one_ends_as_rejected(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    account, job_id = bank.open(0), str(uuid4())
    slow = message("testing.wait", {"seconds": 8})
    client = Celery(broker=servers.redis, backend=servers.redis)
    inspect = client.control.inspect(timeout=1)
    node = start_node(servers, TRIVET_LEASE_S="15")

    payload = {"account": str(account), "amount": 1}
    client.send_task("accounts.deposit", kwargs=payload, queue="accounts", countdown=8, task_id=job_id)
    bank.run.given.redis.lpush("maintenance", envelope(slow))
    wait_for(lambda: ids(inspect.active()) == [slow.task_id], 15)
    wait_for(lambda: scheduled(inspect) == [job_id], 15)
    (refused,) = client.control.terminate(slow.task_id, reply=True)
    (flagged,) = client.control.revoke(job_id, reply=True)
    wait_for(lambda: list((inspect.ping() or {}).values()) == [{"ok": "pong"}], 15)
    wait_for(lambda: [each["pool"]["max-concurrency"] for each in (inspect.stats() or {}).values()] == [2], 15)
    wait_for(lambda: bank.rows("SELECT data FROM trivet.jobs WHERE id = :id AND ended_at IS NOT NULL", id=job_id))

    assert bank.value("SELECT data->>'code' FROM trivet.jobs WHERE id = :id", id=job_id) == "revoked"
    assert bank.balance(account) == 0
    assert "run in batches with others" in next(iter(refused.values()))["error"]
    assert "flagged as revoked" in next(iter(flagged.values()))["ok"]
    assert node.stop() == 0
    client.close()


REFUSED_NAMES = ["two\nlines", "accounts\x06\x163", "", 7, []]
ODD_OPTIONS: list[dict[str, Any]] = [{"exchange_type": "no such type"}, {"exchange": 7}, {"bindings": 5}]


def test_a_node_takes_from_a_queue_that_is_added_and_outlives_the_names_that_it_refuses(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    account = bank.open(0)
    node = start_node(servers)
    client = Celery(broker=servers.redis)
    control = client.control

    def tell(command: str, **given: Any) -> Any:
        ((answer,),) = [
            told.values() for told in control.broadcast(command, given, reply=True, timeout=15, limit=1)
        ]
        return answer

    # It says that it is ready a moment before it listens to remote control, and Redis keeps nothing for it.
    wait_for(lambda: control.ping(timeout=1), 15)
    refused = [tell("add_consumer", queue=name) for name in REFUSED_NAMES]
    odd = [tell("add_consumer", queue="odd", **options) for options in ODD_OPTIONS]
    tell("cancel_consumer", queue="odd")
    not_cancelled = tell("cancel_consumer", queue=[])
    added = tell("add_consumer", queue="ours")
    bank.run.given.redis.lpush("ours", envelope(message("accounts.deposit", {"account": account, "amount": 1})))
    wait_for(lambda: bank.balance(account) == 1, 10)
    cancelled = tell("cancel_consumer", queue="ours")

    assert ["not added" in answer["error"] for answer in refused] == [True] * len(REFUSED_NAMES)
    assert "no such type" in odd[0]["error"]
    assert "not cancelled" in not_cancelled["error"]
    assert "ok" in added
    assert "ok" in cancelled
    queues = control.inspect(timeout=15, limit=1).active_queues()
    assert not {"ours", "odd"} & {queue["name"] for queue in next(iter(queues.values()))}
    assert node.stop() == 0
    client.close()


def test_ctrl_c_is_no_failure(bank: Bank, start_node: StartNode, servers: Urls) -> None:
    node = start_node(servers)

    node.process.send_signal(signal.SIGINT)

    assert node.process.wait(30) == 0


def scheduled(inspect: Any) -> list[str]:
    """The ids that wait for their time, on all nodes."""
    return [entry["request"]["id"] for entries in (inspect.scheduled() or {}).values() for entry in entries]


def ids(replies: Any) -> list[str]:
    """The ids in the answers of all nodes."""
    return [entry["id"] for entries in (replies or {}).values() for entry in entries]
