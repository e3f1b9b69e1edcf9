"""What it costs a node to be watched: task events, metrics and info logs together, beside none of them.

The node is up and the queue is full, and paused, before the clock starts. The rate is that of the events in the
stream; CPU time is that of all processes of the node, and what a busy machine distorts least.
Metrics are asked for once a second, as Prometheus would more seldom. `--flower` adds a third way: a `trivet flower`
listens on the same machine.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Final
from urllib.request import urlopen

from bench.modes.alone import main
from bench.modes.figures import Run, median, told
from bench.modes.held_queue import check, drain, fill, hold, rate, release, wait_for_nodes
from bench.modes.processes import cpu_s
from bench.scene import Scene
from bench.workers import start_node
from tests.fixtures.flower import LOGIN, FlowerPage, spawn_flower
from tests.fixtures.nodes import wait_for
from worker.operations.embedded import ports

ALONE: Final = "unwatched"
WATCHED: Final = "watched"
FLOWER: Final = "flower"

SETTLED_S: Final = 2

Given = tuple[tuple[str, ...], dict[str, str]]
"""Options of the command line, and settings."""

UNWATCHED: Final[Given] = (), {"TRIVET_LOG_LEVEL": "warning"}


@dataclass
class Scrapes:
    """How often the node answered when it was asked for its metrics."""

    answered: int = 0
    stopped: Event = field(default_factory=Event)


def measure(scene: Scene, *, flower: bool = False) -> dict[str, Any]:
    """Returns rate and CPU ms a job of each way, and the ratio `with_events`: the rate watched ÷ unwatched."""
    runs: dict[str, list[Run]] = {way: [] for way in (ALONE, WATCHED, *[FLOWER] * flower)}
    for way in [*runs] * scene.rounds:
        runs[way].append(_run(scene, way))
        scene.tell(f"{way}: {runs[way][-1]['rate']:.0f} jobs/s, {runs[way][-1]['cpu_ms']:.2f} ms of CPU a job")
    ratios = {"with_events": median(runs[WATCHED], "rate") / median(runs[ALONE], "rate")}
    cpu = {way: median(found, "cpu_ms") / median(runs[ALONE], "cpu_ms") for way, found in runs.items()}
    return {"runs": {way: told(found) for way, found in runs.items()} | {"cpu_ratios": cpu}, "ratios": ratios}


def _run(scene: Scene, way: str) -> Run:
    fill(scene, scene.jobs)
    hold(scene)
    port = ports.choose()
    options, environment = _watched(port) if way != ALONE else UNWATCHED
    with ExitStack() as running:
        page = _flower(running, scene) if way == FLOWER else None
        scrapes = running.enter_context(_scraped(port)) if way != ALONE else Scrapes()
        node = start_node(running, scene, *options, settings=environment)
        wait_for_nodes(scene, 1)
        time.sleep(SETTLED_S)
        used_s = cpu_s(node.pid)
        release(scene)
        events = drain(scene, scene.jobs)
        found = {"rate": rate(events), "cpu_ms": (cpu_s(node.pid) - used_s) * 1000 / scene.jobs}
        if page is not None:
            found["seen"] = _seen(page, scene.jobs)
        node.stop()
    check(scene, events, scene.jobs)
    return found | {"log_bytes": node.log.stat().st_size, "scrapes_answered": scrapes.answered}


def _watched(port: int) -> Given:
    return ("--task-events",), {"TRIVET_LOG_LEVEL": "info", "TRIVET_METRICS_PORT": str(port)}


@contextmanager
def _scraped(port: int) -> Iterator[Scrapes]:
    """Ask for the metrics once a second."""
    scrapes = Scrapes()
    thread = Thread(target=_scrape, args=(port, scrapes))
    thread.start()
    try:
        yield scrapes
    finally:
        scrapes.stopped.set()
        thread.join()


def _scrape(port: int, scrapes: Scrapes) -> None:
    while not scrapes.stopped.wait(1):
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            answer.read()
            scrapes.answered += 1


def _flower(running: ExitStack, scene: Scene) -> FlowerPage:
    page = spawn_flower(running, scene.urls, scene.folder, f"--max-tasks={scene.jobs}", environment=LOGIN)
    wait_for(lambda: "Connected to" in page.log.read_text())
    return page


def _seen(page: FlowerPage, count: int) -> float:
    """The share of jobs whose end Flower knows, a while after the last one."""
    time.sleep(2)
    ends = [task["state"] for task in page.tasks().values()]
    return ends.count("SUCCESS") / count


if __name__ == "__main__":
    main(measure, jobs=20_000)
