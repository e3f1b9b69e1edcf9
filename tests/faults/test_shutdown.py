"""However a node is told to end: in time, with nothing lost, nothing left in its hands and each effect once."""

import json
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.fixtures.fleet import loaded
from tests.fixtures.jobs import Bank, message
from tests.fixtures.load import ended, mixed, send, settle
from tests.fixtures.nodes import StartNode, WorkerNode, wait_for
from tests.fixtures.plain_app import plain_app
from worker.envelopes import envelope
from worker.operations.embedded import Urls

GRACE_S = 45
SOFT = {
    "program": "tests.fixtures.configured",
    "TEST_CELERY_SETTINGS": json.dumps({"worker_soft_shutdown_timeout": 2}),
}
ONE_BY_ONE = {"TRIVET_BATCH_MAX": "1", "TRIVET_LEASE_S": "300"}
"""And so long a lease that PostgreSQL bears the silence of a slow job, and nobody sweeps."""

End = Callable[[WorkerNode, Urls], None]


HEARD = {signal.SIGTERM: "Warm shutdown", signal.SIGINT: "Hitting Ctrl+C again", signal.SIGQUIT: "Cold shutdown"}


def told(*signals: signal.Signals) -> End:
    """One signal after the other, each once the one before was heard: two that arrive together would be one."""

    def end(node: WorkerNode, _: Urls) -> None:
        for one in signals:
            node.process.send_signal(one)
            wait_for(partial(heard, node, one), GRACE_S, node.log)

    return end


def heard(node: WorkerNode, one: signal.Signals) -> bool:
    """Whether it has said so, or has ended."""
    return HEARD[one] in node.log.read_text() or node.process.poll() is not None


def remotely(_: WorkerNode, servers: Urls) -> None:
    with plain_app(servers) as app:
        app.control.shutdown()


WARM: dict[str, End] = {
    "SIGTERM": told(signal.SIGTERM),
    "SIGTERM twice": told(signal.SIGTERM, signal.SIGTERM),
    "remote control": remotely,
}
COLD: dict[str, End] = {
    "SIGQUIT": told(signal.SIGQUIT),
    "SIGTERM and SIGQUIT": told(signal.SIGTERM, signal.SIGQUIT),
    "SIGINT twice": told(signal.SIGINT, signal.SIGINT),
}


def exits(node: WorkerNode) -> float:
    """After how many seconds it has ended."""
    began = time.monotonic()
    node.process.wait(GRACE_S)
    return time.monotonic() - began


def left_over(bank: Bank) -> list[bytes]:
    """What there is of nodes in Redis."""
    redis: Any = bank.run.given.redis
    return [key for kind in ("held", "running", "lease", "nodes") for key in redis.scan_iter(f"trivet:{kind}*")]


@pytest.mark.parametrize("how", WARM)
def test_a_node_that_is_told_to_end_under_load_loses_nothing_and_leaves_nothing_in_its_hands(
    bank: Bank, start_node: StartNode, servers: Urls, how: str
) -> None:
    end_under_load(bank, start_node, servers, WARM[how])


def end_under_load(bank: Bank, start_node: StartNode, servers: Urls, end: End) -> None:
    """End a node while jobs come in, see what it leaves behind, and let another one finish."""
    jobs = mixed(bank.open_many(10, 1_000), 2_000)
    node = start_node(servers)

    with loaded(bank.run.given.redis, jobs, rate=200) as load:
        send(bank, jobs[-500:])
        wait_for(lambda: ended(bank) > 100, 15)
        end(node, servers)
        took_s = exits(node)
        left = left_over(bank)
        load.stop()
    missing = ended(bank) < load.sent + 500
    start_node(servers)
    settle(bank, len({one.task_id for one in jobs[: load.sent] + jobs[-500:]}))

    assert took_s < GRACE_S
    assert left == []
    assert missing
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE state = 'parked'") == 0


@pytest.mark.parametrize("how", WARM)
def test_a_warm_shutdown_lets_what_runs_end_and_gives_the_rest_back(
    bank: Bank, start_node: StartNode, servers: Urls, how: str
) -> None:
    slow = [message("testing.think", {"seconds": 3}) for _ in range(2)]
    node = start_node(servers, concurrency=1, **ONE_BY_ONE)

    push(bank, slow)
    wait_for(lambda: running(bank) == 1, 10)
    WARM[how](node, servers)

    assert 2 < exits(node) < GRACE_S
    assert left_over(bank) == []
    assert states(bank) == ["succeeded"]
    assert bank.run.given.redis.llen("maintenance") == 1
    assert node.process.returncode == 0


@pytest.mark.parametrize("how", COLD)
def test_a_cold_shutdown_kills_what_runs_and_gives_everything_back(
    bank: Bank, start_node: StartNode, servers: Urls, how: str
) -> None:
    slow = [message("testing.think", {"seconds": 60}) for _ in range(2)]
    node = start_node(servers, concurrency=1, **ONE_BY_ONE)

    push(bank, slow)
    wait_for(lambda: running(bank) == 1, 10)
    COLD[how](node, servers)

    assert exits(node) < 10
    assert left_over(bank) == []
    assert states(bank) == []
    assert bank.run.given.redis.llen("maintenance") == 2


@pytest.mark.parametrize(("seconds", "outcome"), [(1.0, ["succeeded"]), (60.0, [])])
def test_a_soft_shutdown_waits_for_what_ends_in_time_and_kills_the_rest(
    bank: Bank, start_node: StartNode, servers: Urls, seconds: float, outcome: list[str]
) -> None:
    node = start_node(servers, concurrency=1, **ONE_BY_ONE, **SOFT)

    push(bank, [message("testing.think", {"seconds": seconds})])
    wait_for(lambda: running(bank) == 1, 10)
    node.process.send_signal(signal.SIGQUIT)

    assert 1 < exits(node) < 15
    assert states(bank) == outcome
    assert left_over(bank) == []
    assert bank.run.given.redis.llen("maintenance") == 1 - len(outcome)


def push(bank: Bank, messages: Any) -> None:
    for one in messages:
        bank.run.given.redis.lpush("maintenance", envelope(one))


def running(bank: Bank) -> int:
    """How many messages any node runs."""
    redis: Any = bank.run.given.redis
    return sum(redis.hlen(key) for key in redis.scan_iter("trivet:running:*"))


def states(bank: Bank) -> list[str]:
    """Of the slow jobs."""
    return [row.state for row in bank.rows("SELECT state FROM trivet.jobs WHERE task = 'testing.think'")]
