"""The demo's workload: the same for the same seed, and what it says must happen is what the jobs' rules say."""

import json
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from docs.pages.tasks import declared
from worker.errors import Outcome
from worker.execution.reading import read
from worker.messages import Message, job_id
from worker.operations.demo.planning import COVERING, JOBS_MIN, plan_workload
from worker.operations.demo.slices import ORDER
from worker.operations.demo.workload import Workload

SEEDS = range(20)
JOBS = {job.name: job for job in declared() if not job.name.endswith("_singly")}  # those are made by a test


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
                    balances[key] = payload.get("opening_balance", 0)
                case "accounts.deposit", payload:
                    balances[UUID(payload["account"])] += payload["amount"]
                case "accounts.withdraw", payload:
                    balances[UUID(payload["account"])] -= payload["amount"]
                    assert balances[UUID(payload["account"])] >= 0
                case "accounts.transfer", payload:
                    move(balances, payload, payload["amount"])
                case "accounts.capture", payload:
                    hold = workload.jobs[UUID(payload["hold"])].message.payload
                    assert payload["amount"] <= hold["amount"]
                    move(balances, hold, payload["amount"])
    return balances


def move(balances: dict[UUID, int], between: dict[str, Any], amount: int) -> None:
    balances[UUID(between["source"])] -= amount
    balances[UUID(between["target"])] += amount
    assert balances[UUID(between["source"])] >= 0


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


@pytest.mark.parametrize("jobs", [COVERING, 150, 2_000])
def test_the_mix_has_every_task_that_there_is(jobs: int) -> None:
    for seed in SEEDS if jobs < 1_000 else [1]:
        workload = plan_workload(jobs, seed)

        assert {job.message.task for job in workload.jobs.values()} == JOBS.keys()
        assert set(workload.queues) == set(ORDER)


def test_the_mix_has_every_reason_for_a_rejection_that_one_job_can_come_to() -> None:
    workload = plan_workload(2_000, 1)

    codes = Counter(job.code for job in workload.jobs.values())

    assert codes.keys() == {
        *(None, "invalid_payload", "email_taken", "user_not_found", "user_has_accounts", "post_not_found"),
        *("account_not_found", "insufficient_funds", "same_account", "currency_mismatch", "account_not_empty"),
        *("hold_not_found", "hold_resolved", "collection_not_allowed", "document_invalid", "document_not_found"),
        "session_not_found",
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
            balances_after(workload, reverse=False)
            == balances_after(workload, reverse=True)
            == workload.left.balances
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
