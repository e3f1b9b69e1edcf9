"""Headers that only somebody with bad intentions, or a broken client, would send."""

import json
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.faults.test_intake import deposit, has_ended_or_died, parked
from tests.fixtures.jobs import Bank, message
from tests.fixtures.load import send
from tests.fixtures.nodes import StartNode, wait_for
from worker.envelopes import envelope
from worker.operations.embedded import Urls


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, dict[str, Any]] = {
    "a key that no pickle takes": {"idempotency_key": nested(600)},
    "a group that no pickle takes": {"group": nested(600)},
    "a foreign header that no pickle takes": {"group": "g", "x": nested(600)},
    "a time limit that is no float": {"group": "g", "timelimit": [None, 10**400]},
    "a soft limit that is no float": {"group": "g", "timelimit": [10**400, None]},
    "a time limit before the start": {"group": "g", "timelimit": [-1, -1]},
}

ODD: dict[str, dict[str, Any]] = {
    "a method of the request": {"group": "g", "get": 5},
    "headers that are none": {"group": "g", "headers": 7},
    "our own mark of a revoked one": {"group": "g", "trivet_revoked": True},
}


def element(account: UUID, headers: dict[str, Any]) -> tuple[str, bytes]:
    """A deposit of 1 with these headers: its task id, and the element of its queue."""
    one = message("accounts.deposit", {"account": str(account), "amount": 1})
    told = json.loads(envelope(one))
    told["headers"] |= headers
    return one.task_id, json.dumps(told).encode()


def ended(bank: Bank, task_id: str) -> str | None:
    found = bank.rows("SELECT state FROM trivet.jobs WHERE task_id = :id AND ended_at IS NOT NULL", id=task_id)
    return found[0].state if found else None


@pytest.mark.parametrize("case", HOSTILE)
def test_a_header_that_nothing_can_carry_parks_its_message_and_the_node_goes_on(
    bank: Bank, start_node: StartNode, servers: Urls, case: str
) -> None:
    account = bank.open(0)
    node = start_node(servers, concurrency=1)
    _, raw = element(account, HOSTILE[case])
    neighbour = deposit(account)

    bank.run.given.redis.lpush("accounts", raw)
    send(bank, [neighbour])
    wait_for(partial(has_ended_or_died, bank, neighbour, node), 15, node.log)
    wait_for(lambda: parked(bank), 15, node.log)

    assert [row.data["code"] for row in parked(bank)] == ["unreadable"]
    assert bank.balance(account) == 1
    assert node.stop() == 0


@pytest.mark.parametrize("case", ODD)
def test_an_odd_header_of_a_special_message_loses_no_job(
    bank: Bank, start_node: StartNode, servers: Urls, case: str
) -> None:
    account = bank.open(0)
    node = start_node(servers, concurrency=1)
    task_id, raw = element(account, ODD[case])

    bank.run.given.redis.lpush("accounts", raw)
    wait_for(lambda: ended(bank, task_id), 20, node.log)

    assert (ended(bank, task_id), bank.balance(account)) in {("succeeded", 1), ("parked", 0)}
    assert node.stop() == 0


def test_a_worker_that_an_error_ends_says_so_by_its_exit_code(
    bank: Bank, start_node: StartNode, servers: Urls, tmp_path: Path
) -> None:
    once = tmp_path / "crashed"
    armed = {"TRIVET_CRASH_POINT": "after_running:raise", "TRIVET_CRASH_ONCE": str(once)}
    node = start_node(servers, concurrency=1, **armed)

    send(bank, [deposit(bank.open(0))])

    assert node.process.wait(45) != 0
    assert once.exists()
