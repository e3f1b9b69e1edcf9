import signal

import pytest

from tests.fixtures.crashes import RunAndCrash
from tests.fixtures.jobs import Bank, message
from worker.crash_points import JOB_POINTS, JobPoint


@pytest.mark.parametrize("fault", ["kill", "raise"])
@pytest.mark.parametrize("point", JOB_POINTS)
def test_a_crash_at_any_point_leaves_one_outcome_one_effect_and_one_event(
    bank: Bank, run_and_crash: RunAndCrash, point: JobPoint, fault: str
) -> None:
    alice, bob = bank.open(100), bank.open(100)
    there = message("accounts.transfer", {"source": alice, "target": bob, "amount": 30}, want_result=True)
    back = message("accounts.transfer", {"source": bob, "target": alice, "amount": 10})
    beyond = message("accounts.transfer", {"source": bob, "target": alice, "amount": 1_000_000})
    batch = [there, back, beyond, there]

    exit_code = run_and_crash(point, fault, *batch)
    bank.run(*batch)  # the broker delivers again what was not acknowledged
    bank.deliver_all()

    assert exit_code == -signal.SIGKILL or fault == "raise"
    assert (bank.balance(alice), bank.balance(bob)) == (80, 120)
    assert bank.value("SELECT count(*) FROM ledger_entries WHERE movement_id = :id", id=there.task_id) == 2
    assert bank.run.given.redis.exists(f"celery-task-meta-{there.task_id}")
    bank.check()
