"""The benchmark's arithmetic and its report: ratios, spreads, targets, tables, charts, the page, bad input."""

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import page
from bench.checks import CheckFailed, Expected, require
from bench.durations import too_short
from bench.lineup import pairs
from bench.modes.throughput import compare
from bench.orders import Order
from bench.plots import draw
from bench.running import MODES, Asked, WrongRequest, assemble, finish
from bench.showing import show
from bench.spreads import spreads
from bench.tables import in_tables
from bench.targets import TARGETS, judge

RATES = {
    "trivet": [900.0, 1_000.0, 1_200.0],
    "bare-loop": [2_000.0, 2_000.0, 2_000.0],
    "celery": [90.0, 100.0, 80.0],
    "rq": [40.0, 50.0, 60.0],
    "huey": [200.0, 250.0, 300.0],
    "single-body": [800.0, 800.0, 800.0],
    "celery-orm": [100.0, 100.0, 100.0],
}


IDLE = {"requests_per_s": 4.5, "cpu": 0.02}


def told(rate: float) -> dict[str, Any]:
    return {"rounds": [{"rate": rate}]}


def result(jobs: int = 20_000) -> dict[str, Any]:
    """A whole result, as small as can be."""
    ratios, between = compare(RATES, pairs(["celery", "rq", "huey", "celery-orm"]), ["rq", "huey"])
    runs = {
        name: {"jobs": jobs, "transfers_per_s": rates, "median": rates[1], "min": min(rates), "max": max(rates)}
        for name, rates in RATES.items()
    }
    versions = {"peers": {"rq": {"rq": "2.6"}}}
    throughput = {"runs": runs, "ratios": ratios, "spreads": between, "versions": versions, "settings": {}}
    found = {"throughput": throughput, "idle": {"runs": {"idle": {"rounds": [IDLE]}}, "ratios": {}, "idle": IDLE}}
    nodes = {"random 1": told(1_000), "random 2": told(1_500), "random 4": told(1_400)}
    more = {"scaling": {"runs": nodes, "ratios": {"two_nodes": 1.5}}}
    whole = finish(assemble(found | more), {"scaling": 20_000}, ["celery", "rq", "huey", "celery-orm"])
    whole["cannot_run"] = {"bullmq": "there is no node"}
    whole["versions"] |= {"python": "3.11"}
    machine = {"cpus": 2, "cpu": "some", "memory_gib": 4, "system": "Linux"}
    whole["settings"] = {"rounds": 3, "concurrency": 2, "durable": {"fsync": "on"}, "machine": machine}
    whole["settings"]["contestants"] = whole.pop("contestants")
    return whole


def shown(result: dict[str, Any]) -> str:
    text = StringIO()
    Console(width=140, file=text).print(in_tables(result))
    return " ".join(text.getvalue().split())


def test_a_ratio_is_of_the_medians_and_its_spread_is_of_the_rounds() -> None:
    ratios, between = compare(RATES, pairs(["celery", "celery-orm"]), [])

    assert ratios == {"bare_loop": 0.5, "celery": 11.111, "single_body": 8.0}
    assert between["celery"] == [10.0, 15.0]


def test_the_best_peer_is_the_fastest_that_ran_and_none_other() -> None:
    ratios, _ = compare(RATES, pairs(["celery", "rq", "huey", "arq"]), ["rq", "huey", "arq"])

    assert ratios["best_peer"] == ratios["huey"] == 4.0
    assert "arq" not in ratios


def test_without_our_own_figure_there_is_no_ratio() -> None:
    assert compare({"celery": [100.0]}, pairs(["celery"]), []) == ({}, {})


def test_the_spread_of_a_mode_is_that_of_its_rounds() -> None:
    runs = {
        "growth": {
            "short": {"rounds": [{"rate": 100, "memory_mib": 50}, {"rate": 100, "memory_mib": 50}]},
            "long": {"rounds": [{"rate": 90, "memory_mib": 55}, {"rate": 110, "memory_mib": 50}]},
        },
        "idle": {"idle": {"rounds": [{"requests_per_s": 3.5, "cpu": 0.004}, {"requests_per_s": 4, "cpu": 0.006}]}},
    }

    assert spreads(runs) == {
        "growth": [0.9, 1.1],
        "memory_growth": [1.0, 1.1],
        "requests_per_s": [3.5, 4],
        "cpu": [0.004, 0.006],
    }


@pytest.mark.parametrize(
    ("key", "value", "met"),
    [("celery", 12, True), ("celery", 11.99, False), ("growth", 0.9, True), ("latency_p50", 1.31, False)],
)
def test_a_target_is_met_from_its_limit_on(key: str, value: float, *, met: bool) -> None:
    assert judge({key: value})[key]["met"] is met


def test_every_target_is_judged_when_it_was_measured_and_only_then() -> None:
    everything = {target.key: 1.0 for target in TARGETS}

    assert judge(everything).keys() == everything.keys()
    assert judge({"cpu": 0.005}) == {"cpu": {"target": "≤ 0.01", "value": 0.005, "met": True}}


def test_a_rate_that_took_a_moment_proves_nothing_however_high() -> None:
    short = result(jobs=300)["targets"]

    assert short["celery"] == {"target": "≥ 12", "value": 11.111, "met": False, "note": "too few jobs to tell"}
    assert {key for key, judged in short.items() if "note" in judged} == {
        "celery",
        "best_peer",
        "bare_loop",
        "single_body",
    }
    assert not any("note" in judged for judged in result()["targets"].values())


def test_a_mode_that_took_a_moment_proves_nothing_either() -> None:
    runs = {"growth": {"short": told(10_000), "long": told(9_000)}, "idle": {"idle": {"rounds": [IDLE]}}}

    assert too_short(runs, {"growth": 4_000}, {}) == {"growth"}
    assert too_short(runs, {"growth": 10_000}, {}) == set()


def test_an_order_beyond_all_money_is_expected_to_be_rejected() -> None:
    work = [Order("1", "a", "b", 3), Order("2", "a", "b", 10**12), Order("3", "b", "a", 1)]

    assert Expected.of(work) == Expected(succeeded=2, rejected=1)


def test_a_check_that_fails_says_which_and_by_how_much() -> None:
    with pytest.raises(CheckFailed, match="receipts: 3 expected, 2 found"):
        require("receipts", 3, 2)


def test_the_result_keeps_each_mode_apart_and_puts_its_ratios_together() -> None:
    whole = result()

    assert set(whole["runs"]) == {"throughput", "idle", "scaling"}
    assert {"celery", "best_peer", "single_body", "two_nodes"} <= whole["ratios"].keys()
    assert {"celery", "cpu"} <= whole["targets"].keys()
    assert json.loads(json.dumps(whole)) == whole


def test_the_table_tells_figures_spreads_distances_and_who_is_missing() -> None:
    text = shown(result())

    assert "│ 11.11 │ 10.00 – 15.00 │ ≥ 12 │ 7% short │" in text
    assert "│ 0.0200 │" in text
    assert "100% short" in text
    assert "two_nodes" in text
    assert "cannot run here: bullmq: there is no node" in text


def test_a_chart_is_drawn_for_what_was_measured_and_asks_for_nothing_on_the_network(tmp_path: Path) -> None:
    (drawn,) = draw(result(), tmp_path)

    picture = drawn.read_text()
    assert drawn.name == "throughput.svg"
    assert all(name in picture for name in RATES)
    assert not re.search(r'(src|href)="(https?:)?//', picture)


def test_the_page_keeps_its_words_and_takes_its_figures_anew(tmp_path: Path) -> None:
    there = tmp_path / "performance.md"
    there.write_text(f"# Words\n\n{page.BEGIN}\n\nold figures\n\n{page.END}\n\nMore words.\n")

    page.write(result(), there)
    once = there.read_text()
    page.write(result(), there)

    assert once.startswith(f"# Words\n\n{page.BEGIN}\n\nMachine: 2 × some")
    assert once.endswith(f"{page.END}\n\nMore words.\n")
    assert "old figures" not in once
    assert "| 11.11 | 10.00 – 15.00 | ≥ 12 | 7% short |" in once
    assert "bullmq was not measured: there is no node." in once
    assert "rq 2.6" in once
    assert there.read_text() == once
    assert (tmp_path / "performance" / "throughput.svg").exists()


def test_the_page_of_the_documentation_has_a_place_for_figures() -> None:
    text = page.PAGE.read_text()

    assert text.count(page.BEGIN) == text.count(page.END) == 1


def test_without_a_word_everything_is_asked_for() -> None:
    asked = Asked.of(None, [], None, 3)

    assert list(asked.modes) == list(MODES)
    assert {"celery", "celery-orm", "pgbench"} <= set(asked.against)


@pytest.mark.parametrize(
    ("against", "only", "says"),
    [
        ("celery,resque", [], "--against: there is no 'resque'; there are celery, celery-orm, pgbench"),
        ("", [], "--against: there is no ''"),
        (None, ["speed"], "--only: there is no 'speed'; there are throughput, enqueue, latency, growth"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(against: str | None, only: list[str], says: str) -> None:
    with pytest.raises(WrongRequest) as refused:
        Asked.of(against, only, None, 3)

    assert str(refused.value).startswith(says)


def test_a_folder_that_takes_no_chart_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for folder in (tmp_path / "file", tmp_path / "file" / "within", Path("/proc/charts")):
        with pytest.raises(WrongRequest, match="--plots: no chart can be written into"):
            show(Asked.of("celery", ["throughput"], 20, 1), plots=folder, as_json=True)


def test_without_a_checkout_the_command_says_in_one_line_what_it_needs(tmp_path: Path) -> None:
    installed = "import sys; sys.modules['bench'] = None; from worker.operations.cli import main; main()"

    ran = subprocess.run(
        [sys.executable, "-c", installed, "bench"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert "run it in a checkout of the repository" in ran.stderr
