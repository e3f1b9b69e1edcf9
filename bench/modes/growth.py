"""What a long queue costs, and what many jobs leave behind in a node.

Each round has two runs of a fresh node: one with 10,000 transfers in the queue, one with twenty times as many. The
rates compare the first 10,000 that come out of each. The memory is that of all processes of the node (PSS) once
all of its jobs are done.
"""

import time
from contextlib import ExitStack
from typing import Any, Final

from bench.modes.alone import main
from bench.modes.figures import median, told
from bench.modes.held_queue import check, drain, fill, rate
from bench.modes.processes import memory_bytes
from bench.scene import Scene
from bench.workers import start_node

AT_MOST: Final = 10_000
"""Jobs of the short queue, however many are asked for."""

FACTOR: Final = 20
QUIET_S: Final = 2


def measure(scene: Scene) -> dict[str, Any]:
    """Returns runs with short and with long queues, and the ratios `growth` and `memory_growth`."""
    head = min(scene.jobs, AT_MOST)
    runs: dict[str, list[dict[str, float]]] = {"short": [], "long": []}
    for name, count in [("short", head), ("long", head * FACTOR)] * scene.rounds:
        runs[name].append(_run(scene, count, head))
        scene.tell(f"{count} queued: {runs[name][-1]['rate']:.0f} jobs/s, {runs[name][-1]['memory_mib']:.0f} MiB")
    growth, memory_growth = (
        median(runs["long"], figure) / median(runs["short"], figure) for figure in ("rate", "memory_mib")
    )
    return {
        "runs": {name: told(found) for name, found in runs.items()},
        "ratios": {"growth": growth, "memory_growth": memory_growth},
    }


def _run(scene: Scene, count: int, head: int) -> dict[str, float]:
    """Jobs a second of the first ones, of the last ones and of all; memory in the end."""
    fill(scene, count)
    with ExitStack() as running:
        node = start_node(running, scene)
        events = drain(scene, count)
        time.sleep(QUIET_S)
        memory = memory_bytes(node.pid)
        node.stop()
    check(scene, events, count)
    return {
        "queued": count,
        "rate": rate(events[:head]),
        "rate_of_last": rate(events[-head:]),
        "rate_of_all": rate(events),
        "memory_mib": memory / 2**20,
    }


if __name__ == "__main__":
    main(measure, jobs=AT_MOST)
