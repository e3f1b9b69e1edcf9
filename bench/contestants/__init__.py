"""Who does the work of the benchmark: ours, plain Celery, and peers, each behind the same three calls."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import ClassVar, Protocol

from bench.orders import Order
from bench.scene import Scene


class CannotRun(Exception):
    """A contestant cannot run here: it is reported as such, with this reason, and the others go on."""


class Contestant(Protocol):
    """A queue and its worker, set up as a competent user would.

    Its job does the whole work of a transfer: both balances and two ledger entries in one transaction, a receipt in
    MongoDB's collection `receipts_collection` with `w=majority`, an event appended to the stream `events` and
    published. It is made with the scene, and used for several rounds.
    """

    name: ClassVar[str]
    receipts_collection: ClassVar[str]

    def install(self) -> Mapping[str, str]:
        """Make its environment, once; returns versions by package. Raises `CannotRun`."""

    def enqueue(self, jobs: Sequence[Order]) -> None:
        """Put the jobs into its queue with its own client; no worker of it is running."""

    def start(self, running: ExitStack) -> None:
        """Start its worker, of `scene.concurrency` processes; `running` ends it, and everything that it started."""


class MakeContestant(Protocol):
    """How a contestant is made."""

    def __call__(self, scene: Scene) -> Contestant:
        """For servers and a folder."""
