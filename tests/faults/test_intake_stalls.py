"""A node, or a pool process, that freezes at a named point, and goes on when others have taken over its work."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.fixtures.armed import ENDING, SLACK_S, TAKEN_OVER_S, Armed, thaw
from tests.fixtures.crashes import RunAndFreeze
from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import StartNode, WorkerNode, wait_for
from worker.crash_points import INTAKE_POINTS, JOB_POINTS, IntakePoint, JobPoint
from worker.operations.embedded import Urls

EXIT_S = 45
"""The grace period: one exit of a pool in ten may wait for 30 s."""

NOT_STARTED: tuple[IntakePoint, ...] = ("after_reserve", "before_running")
"""Points at which a node has taken messages, and marked none of them as running."""


@pytest.fixture
def armed(bank: Bank, servers: Urls, start_node: StartNode, tmp_path: Path) -> Armed:
    return Armed(bank, servers, start_node, tmp_path, bank.open(0))


@pytest.mark.parametrize("point", INTAKE_POINTS)
def test_a_node_frozen_at_any_point_of_its_intake_costs_no_job_and_does_no_harm_when_it_goes_on(
    armed: Armed, point: IntakePoint
) -> None:
    frozen = armed.strike(point, "stall")
    names = armed.fleet.names()
    other = armed.start()
    other.wait_ready()
    began = time.monotonic()
    wait_for(lambda: not names & armed.fleet.names(), 30, other.log)
    taken_over_s = time.monotonic() - began
    wait_for(armed.all_ended, 60, other.log)

    thaw(frozen)
    if point in ENDING:
        assert frozen.process.wait(EXIT_S) == 0
    else:
        wait_for(lambda: "lease.lost" in frozen.log.read_text(), 10, frozen.log)
        other.kill()
        armed.deposit(10)  # it serves again, under another name
        wait_for(armed.all_ended, 10, frozen.log)

    armed.check()
    assert taken_over_s <= TAKEN_OVER_S + SLACK_S
    if point in NOT_STARTED:
        assert started(frozen) + started(other) == len(armed.jobs)


def started(node: WorkerNode) -> int:
    """How many deposits were in the batches that the node has committed, repeats too."""
    lines = [json.loads(line) for line in node.log.read_text().splitlines() if '"batch.committed"' in line]
    return sum(line["jobs"] for line in lines if line["task"] == "accounts.deposit")


@pytest.mark.parametrize("point", JOB_POINTS)
def test_a_process_frozen_at_any_point_of_a_batch_lets_others_run_it_and_finds_it_ended(
    bank: Bank, run_and_freeze: RunAndFreeze, point: JobPoint
) -> None:
    alice, bob = bank.open(100), bank.open(100)
    there = message("accounts.transfer", {"source": alice, "target": bob, "amount": 30})
    back = message("accounts.transfer", {"source": bob, "target": alice, "amount": 10})
    batch = [there, back, there]

    frozen = run_and_freeze(point, *batch)
    began = time.monotonic()
    bank.run(*batch)
    waited_s = time.monotonic() - began
    os.kill(frozen.pid or 0, signal.SIGCONT)
    frozen.join(20)
    bank.deliver_all()

    assert waited_s <= bank.run.given.settings.frozen_timeout_s + SLACK_S
    assert (bank.balance(alice), bank.balance(bob)) == (80, 120)
    assert bank.value("SELECT count(*) FROM ledger_entries WHERE movement_id = :id", id=there.task_id) == 2
    bank.check()
