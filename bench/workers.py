"""The workers that are measured: nodes of ours, and the plain Celery worker beside them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from types import MappingProxyType

from bench.scene import Scene
from tests.fixtures.nodes import WorkerNode, spawn_node
from worker.settings import Settings

EVENTS_KEPT = 10_000_000
"""More than any run makes, so that each event can be counted."""

DEFAULTS = {
    "TRIVET_LEASE_S": str(Settings.model_fields["lease_s"].default),  # the tests' nodes have a shorter one
    "TRIVET_EVENTS_MAXLEN": str(EVENTS_KEPT),
    "TRIVET_METRICS_PORT": "",
}


def start_node(
    running: ExitStack,
    scene: Scene,
    *options: str,
    concurrency: int | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> WorkerNode:
    """Start a node with the default settings, but for the length of the stream; `running` kills it."""
    pool = concurrency or scene.concurrency
    return spawn_node(running, scene.urls, scene.folder, *options, concurrency=pool, **DEFAULTS | dict(settings))


def start_plain(running: ExitStack, scene: Scene, app: str = "bench.plain") -> WorkerNode:
    """Start a plain Celery worker of this app, on the app's own queue; `running` kills it."""
    log = scene.folder / f"plain-{len(list(scene.folder.glob('plain-*')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app, "worker", f"--concurrency={scene.concurrency}"],
            env=os.environ | scene.urls.environment(),
            stdout=output,
            stderr=output,
        )
    running.callback(process.wait)
    running.callback(process.kill)
    return WorkerNode(process, log)
