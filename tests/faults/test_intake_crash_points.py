import re
from pathlib import Path

import pytest

from tests.fixtures.armed import Armed
from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode, wait_for
from worker.crash_points import INTAKE_POINTS, JOB_POINTS, POOL_POINTS, SEND_POINTS, TICK_POINTS, IntakePoint
from worker.operations.embedded import Urls

WORKER = Path(__file__).parents[2] / "worker"


@pytest.fixture
def armed(bank: Bank, servers: Urls, start_node: StartNode, tmp_path: Path) -> Armed:
    return Armed(bank, servers, start_node, tmp_path, bank.open(0))


@pytest.mark.parametrize("point", INTAKE_POINTS)
def test_a_node_killed_at_any_point_of_its_intake_costs_no_job_and_repeats_none(
    armed: Armed, point: IntakePoint
) -> None:
    armed.strike(point, "kill")

    other = armed.start()
    other.wait_ready()
    wait_for(armed.all_ended, 30, other.log)

    armed.check()


def test_every_declared_point_stands_in_the_code_once() -> None:
    source = "".join(path.read_text() for path in WORKER.rglob("*.py"))

    named = re.findall(r'^ +crash_point\("(\w+)"\)$', source, re.MULTILINE)

    assert sorted(named) == sorted(INTAKE_POINTS + JOB_POINTS + SEND_POINTS + POOL_POINTS + TICK_POINTS)
