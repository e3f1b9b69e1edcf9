"""`trivet bench`, small: what it prints, and that what it measured was checked."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_one_run_measures_all_sides_and_prints_one_object(tmp_path: Path) -> None:
    small = ["--only", "throughput", "--against", "celery,pgbench,celery-orm", "--jobs", "300", "--rounds", "1"]

    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "from worker.operations.cli import main; main()",
            "bench",
            *small,
            "--json",
            "--plots",
            str(tmp_path),
        ],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["failed"] == found["cannot_run"] == {}
    assert found["ratios"].keys() == {"celery", "pgbench", "bare_loop", "single_body"}
    assert all(ratio > 0 for ratio in found["ratios"].values())
    assert found["ratios"].keys() == found["spreads"].keys() == found["targets"].keys()
    assert found["targets"]["celery"]["note"] == "too few jobs to tell"
    rates = found["runs"]["throughput"]
    assert {name: run["jobs"] for name, run in rates.items()} == {
        "trivet": 300,
        "bare-loop": 300,
        "celery": 100,
        "pgbench": 288,
        "single-body": 300,
        "celery-orm": 100,
    }
    assert {"trivet", "python", "celery", "kombu", "redis-py", "PostgreSQL", "MongoDB", "Redis"} <= set(
        found["versions"]
    )
    assert found["settings"]["durable"]["PostgreSQL fsync"] == "on"
    assert found["settings"]["durable"]["Redis appendonly"] == "yes"
    assert ran.stderr.count("round 1:") == len(rates)
    assert (tmp_path / "throughput.svg").exists()
