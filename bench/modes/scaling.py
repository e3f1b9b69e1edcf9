"""Throughput of one, two and four nodes of one pool process each, and what contention among them costs.

The nodes are up and the queue is full, and paused, before the clock starts. One row moves money among all seeded
accounts, the other among ten hot ones. Beside the rate stands what a job cost: CPU of the nodes and of each server,
transactions, commands to Redis, waits for locks. What grows with the nodes does not scale.
"""

import time
from contextlib import ExitStack
from typing import Any, Final

from bench.modes.alone import main
from bench.modes.contention import counted
from bench.modes.figures import Run, median, told
from bench.modes.held_queue import check, drain, fill, hold, rate, release, wait_for_nodes
from bench.modes.processes import cpu_s
from bench.orders import ACCOUNTS
from bench.scene import Scene
from bench.workers import start_node

NODES: Final = (1, 2, 4)
ROWS: Final = {"random": ACCOUNTS, "hot": 10}
"""How many accounts the money moves among."""

SETTLED_S: Final = 2


def measure(scene: Scene) -> dict[str, Any]:
    """Returns runs by row and number of nodes, and the ratios `two_nodes` and `four_nodes`, each to one node."""
    runs: dict[str, list[Run]] = {f"{row} {nodes}": [] for row in ROWS for nodes in NODES}
    for _ in range(scene.rounds):
        for row, among in ROWS.items():
            for nodes in NODES:
                found = _run(scene, nodes, among)
                runs[f"{row} {nodes}"].append(found)
                scene.tell(f"{row} accounts, {nodes} node(s): {found['rate']:.0f} jobs/s")
    rates = {nodes: median(runs[f"random {nodes}"], "rate") for nodes in NODES}
    return {
        "runs": {name: told(found) for name, found in runs.items()},
        "ratios": {"two_nodes": rates[2] / rates[1], "four_nodes": rates[4] / rates[1]},
    }


def _run(scene: Scene, nodes: int, among: int) -> Run:
    fill(scene, scene.jobs, among=among)
    hold(scene)
    with ExitStack() as running:
        started = [start_node(running, scene, concurrency=1) for _ in range(nodes)]
        wait_for_nodes(scene, nodes)
        time.sleep(SETTLED_S)
        used_s = sum(cpu_s(node.pid) for node in started)
        cost = running.enter_context(counted(scene))
        release(scene)
        events = drain(scene, scene.jobs)
        used_s = sum(cpu_s(node.pid) for node in started) - used_s
        for node in started:
            node.stop()
        found = {"rate": rate(events), "node_cpu_ms": used_s * 1000 / scene.jobs} | cost(scene.jobs)
    check(scene, events, scene.jobs)
    return found


if __name__ == "__main__":
    main(measure, jobs=20_000)
