"""A pool process that cannot begin ends, is made anew, and does no harm to the jobs that wait."""

from pathlib import Path

import pytest

from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import StartNode, wait_for
from worker.crash_points import POOL_POINTS, PoolPoint
from worker.envelopes import envelope
from worker.operations.embedded import Urls


@pytest.mark.parametrize("point", POOL_POINTS)
def test_a_process_that_cannot_begin_is_replaced_and_no_job_is_blamed(
    bank: Bank, servers: Urls, start_node: StartNode, tmp_path: Path, point: PoolPoint
) -> None:
    account = bank.open(0)
    for _ in range(20):
        deposit = message("accounts.deposit", {"account": account, "amount": 1})
        bank.run.given.redis.lpush("accounts", envelope(deposit))
    once = tmp_path / "crashed"

    armed = {"TRIVET_CRASH_POINT": f"{point}:raise", "TRIVET_CRASH_ONCE": str(once)}
    node = start_node(servers, wait=False, concurrency=1, **armed)
    wait_for(lambda: bank.balance(account) == 20, 60, node.log)

    assert int(once.read_text()) not in node.pool_pids()
    assert len(node.pool_pids()) == 1
    assert bank.rows("SELECT DISTINCT state, failures FROM trivet.jobs WHERE task = 'accounts.deposit'") == [
        ("succeeded", 0)
    ]
