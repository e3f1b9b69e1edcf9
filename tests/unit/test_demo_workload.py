"""The demo's workload: the same for the same seed, and what it says must happen is what the jobs' rules say."""

import json
from collections import Counter
from uuid import UUID

import pytest

import tasks.accounts  # declares its jobs, as the next one
import tasks.users  # noqa: F401 - declares its jobs
from worker.errors import Outcome
from worker.execution.job import JOBS
from worker.execution.reading import read
from worker.messages import Message, job_id
from worker.operations.demo.planning import JOBS_MIN, plan_workload
from worker.operations.demo.workload import Workload

SEEDS = range(20)


def rejected_on_reading(task: str, payload: dict[str, object]) -> bool:
    body = json.dumps([[], payload, {}]).encode()
    [attempt] = read(JOBS[task], [Message(task, str(UUID(int=1)), body)])
    return attempt.ending is not None and attempt.ending.data["code"] == "invalid_payload"


def balances_after(workload: Workload, *, reverse: bool) -> dict[UUID, int]:
    """Replay what must succeed, each phase in one of two orders; no balance may go below zero on the way."""
    balances: dict[UUID, int] = {}
    for phase in workload.phases:
        first = {message.job_id: message for message in phase.messages if not message.want_result}
        for key, message in sorted(first.items(), reverse=reverse):
            if phase.name == "again" or workload.jobs[key].code:
                continue
            match message.task, message.payload:
                case "accounts.open", payload:
                    balances[key] = payload["opening_balance"]
                case "accounts.deposit", payload:
                    balances[UUID(payload["account"])] += payload["amount"]
                case "accounts.transfer", payload:
                    balances[UUID(payload["source"])] -= payload["amount"]
                    balances[UUID(payload["target"])] += payload["amount"]
                    assert balances[UUID(payload["source"])] >= 0
    return balances


def test_the_same_seed_makes_the_same_workload() -> None:
    assert plan_workload(500, 7) == plan_workload(500, 7)
    assert plan_workload(500, 7) != plan_workload(500, 8)


@pytest.mark.parametrize("jobs", [JOBS_MIN, 21, 99, 1_000])
def test_so_many_distinct_jobs_are_sent_as_were_asked_for(jobs: int) -> None:
    for seed in SEEDS:
        workload = plan_workload(jobs, seed)

        assert len(workload.jobs) == len({message.job_id for message in workload.messages}) == jobs
        assert len(workload.messages) == jobs + workload.repeats + workload.conflicts
        assert len(set(workload.answers)) == workload.repeats > 0 < workload.conflicts


def test_the_mix_has_every_task_and_every_reason_for_a_rejection() -> None:
    workload = plan_workload(2_000, 1)

    tasks_ = Counter(job.message.task for job in workload.jobs.values())
    codes = Counter(job.code for job in workload.jobs.values())

    assert tasks_.keys() == {"users.create", "accounts.open", "accounts.deposit", "accounts.transfer"}
    assert codes.keys() == {
        *(None, "invalid_payload", "email_taken", "user_not_found", "account_not_found"),
        *("insufficient_funds", "same_account", "currency_mismatch"),
    }
    assert codes[None] > 1_500


def test_exactly_the_payloads_that_are_said_to_be_invalid_are_refused() -> None:
    jobs = [job for seed in range(4) for job in plan_workload(1_000, seed).jobs.values()]

    wrong = [
        job
        for job in jobs
        if rejected_on_reading(job.message.task, job.message.payload) != (job.code == "invalid_payload")
    ]

    assert not wrong


def test_the_balances_do_not_depend_on_the_order_within_a_phase() -> None:
    for seed in SEEDS:
        workload = plan_workload(400, seed)

        assert (
            balances_after(workload, reverse=False) == balances_after(workload, reverse=True) == workload.balances
        )


def test_a_message_reaches_the_job_that_it_is_counted_for() -> None:
    for message in plan_workload(300, 3).messages:
        sent = Message(message.task, message.task_id, b"", headers=message.headers)

        assert job_id(sent) == message.job_id


def test_a_conflict_has_the_id_of_a_job_that_succeeded_in_an_earlier_phase() -> None:
    workload = plan_workload(1_000, 5)
    again = workload.phases[-1].messages
    conflicts = [message for message in again if not message.want_result]

    assert len(conflicts) == workload.conflicts
    for message in conflicts:
        job = workload.jobs[message.job_id]
        assert job.outcome is Outcome.SUCCEEDED
        assert job.message.payload != message.payload
