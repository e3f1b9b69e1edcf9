"""The peers: other queues with workers, each set up for throughput as its documentation says, where that is safe.

All Python peers do the work of `bench.work`, which plain Celery does too. Each has `scene.concurrency` processes.
"""

from collections.abc import Mapping
from typing import Final

from bench.contestants import MakeContestant
from bench.contestants.peers.javascript import BullMQ
from bench.contestants.peers.python import Arq, Dramatiq, Huey, Procrastinate, Rq, Taskiq

PEERS: Final[Mapping[str, MakeContestant]] = {
    peer.name: peer for peer in (Rq, Dramatiq, Huey, Arq, Taskiq, Procrastinate, BullMQ)
}
"""By the names that `trivet bench --against` takes."""
