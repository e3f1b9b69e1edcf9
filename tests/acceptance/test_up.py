"""`trivet up`: it runs the stack, starts again what dies, and leaves nothing behind."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from celery import Celery

from tests.fixtures.stacks import until
from worker.operations import embedded
from worker.operations.embedded import Urls, processes
from worker.operations.embedded.processes import Process
from worker.operations.programs import trivet
from worker.operations.supervising import Pauses


@dataclass(frozen=True)
class Up:
    """A running `trivet up`, and where its servers and its output are."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def worker(self) -> Process | None:
        """The main process of the worker."""
        main = processes.read(self.process.pid)
        children = processes.children(main) if main else []
        return next((child for child in children if child.command[-1:] == ("worker",)), None)

    def family(self) -> list[Process]:
        """All processes that descend from it."""
        found, new = [], [process for process in [processes.read(self.process.pid)] if process]
        while new:
            found += new
            new = [child for process in new for child in processes.children(process)]
        return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    folder, output = tmp_path / "servers", tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            trivet("up", f"--folder={folder}"), stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield Up(process, folder, output)
    finally:
        process.kill()
        process.wait()
        embedded.erase(folder)


def enqueue_user(urls: Urls) -> str:
    task_id = str(uuid4())
    with Celery(broker=urls.redis, set_as_current=False) as client:
        payload = {"name": "Ada", "email": f"{task_id}@example.com"}
        client.send_task("users.create", kwargs=payload, queue="users", task_id=task_id)
    return task_id


def state_of(urls: Urls, job_id: str) -> str | None:
    with psycopg.connect(urls.postgres) as postgres:
        row = postgres.execute("SELECT state FROM trivet.jobs WHERE id = %s", (job_id,)).fetchone()
    return row[0] if row else None


def test_a_killed_worker_is_started_again_and_sigterm_leaves_no_process(up: Up) -> None:
    assert until(lambda: up.worker, 45), up.said
    first = up.worker
    assert first is not None
    urls = embedded.running_urls(up.folder)

    os.kill(first.pid, signal.SIGKILL)
    assert until(lambda: (again := up.worker) and again.pid != first.pid, 45), up.said
    job = enqueue_user(urls)
    assert until(lambda: state_of(urls, job) == "succeeded", 45), up.said
    family = up.family()
    up.process.terminate()

    assert up.process.wait(60) == 0, up.said
    assert len(family) > 9  # three servers with their guards, a worker with its pool, beat, Flower
    assert any(process.command[-1:] == ("beat",) for process in family)
    assert [process for process in family if processes.alive(process)] == []
    assert not any(server.up for server in embedded.status(up.folder))
    assert "worker   │ ended (-9); starts again in 1 s" in up.said
    assert "trivet:***@" in up.said
    assert urls.postgres not in up.said


def test_what_keeps_dying_is_started_less_and_less_often() -> None:
    pauses = Pauses()

    assert [pauses.after(0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert [pauses.after(60), pauses.after(0.1)] == [1, 2]
