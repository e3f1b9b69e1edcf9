"""Each mode of the benchmark, small: its keys are there, its figures are positive, and its checks can fail."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from bench.checks import CheckFailed
from bench.modes import enqueueing, growth, idle, latency, overhead, scaling
from bench.modes.alone import Measure
from bench.modes.held_queue import check, fill, stream
from bench.scene import Scene, open_scene
from tests.fixtures.jobs import message

JOBS = 60

RATIOS: dict[str, tuple[Measure, set[str]]] = {
    "enqueueing": (enqueueing.measure, {"enqueue_many"}),
    "latency": (latency.measure, {"latency_p50", "latency_p99_over_p50"}),
    "growth": (growth.measure, {"growth", "memory_growth"}),
    "overhead": (overhead.measure, {"with_events"}),
    "scaling": (scaling.measure, {"two_nodes", "four_nodes"}),
    "idle": (partial(idle.measure, seconds=2), set()),
}

MAY_BE_NOTHING = {
    *("deadlocks", "rollbacks", "lock_wait_ms", "light_lock_wait_ms", "scrapes_answered", "log_bytes"),
    *("redis_cpu_ms", "mongo_cpu_ms", "postgres_cpu_ms", "node_cpu_ms", "cpu_ms", "cpu"),  # whole ticks of 10 ms
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with open_scene(jobs=JOBS, rounds=1, tell=print) as scene:
        yield scene


def figures(found: Any) -> Iterator[tuple[str, float]]:
    """Every number in the object, with its name; the spreads of the rounds aside."""
    match found:
        case dict():
            for name, value in found.items():
                if name == "spreads":
                    continue
                if isinstance(value, int | float):
                    yield name, value
                else:
                    yield from figures(value)
        case list():
            for each in found:
                yield from figures(each)


@pytest.mark.parametrize("mode", RATIOS)
def test_a_mode_has_its_ratios_and_its_figures_are_positive(mode: str, scene: Scene) -> None:
    measure, ratios = RATIOS[mode]

    found = measure(scene)

    assert found["ratios"].keys() == ratios
    assert found["runs"]
    numbers = list(figures(found))
    assert {name for name, value in numbers if value <= 0} <= MAY_BE_NOTHING
    assert all(value >= 0 for _, value in numbers)
    if mode == "idle":
        assert found["idle"].keys() == {"requests_per_s", "cpu"}


def test_a_mode_run_alone_prints_one_object() -> None:
    command = [sys.executable, "-m", "bench.modes.enqueueing", "--jobs", "40", "--rounds", "1"]

    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["ratios"]["enqueue_many"] > 0


def test_what_did_not_happen_fails_the_check(scene: Scene) -> None:
    fill(scene, 2)
    scene.bank.run.given.redis.delete("accounts")

    with pytest.raises(CheckFailed, match="ledger entries: 2004 expected, 2000 found"):
        check(scene, stream(scene), 2)


def test_money_that_did_not_move_as_often_as_jobs_ended_fails_the_check(scene: Scene) -> None:
    source, target = scene.fresh_accounts()[:2]
    transfer = message("accounts.transfer", {"source": source, "target": target, "amount": 1}, uuid4())
    scene.bank.run(transfer)
    scene.bank.run.given.documents["receipts"].delete_many({})

    with pytest.raises(CheckFailed, match="receipts: 1 expected, 0 found"):
        check(scene, stream(scene), 1)
