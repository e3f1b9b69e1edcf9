"""Who is measured by transfers a second, by the name that is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from bench.contestants.celery import Celery
from bench.contestants.celery_orm import CeleryOrm
from bench.contestants.peers import PEERS
from bench.contestants.trivet import Trivet, TrivetSingly
from bench.draining import Drain
from bench.scene import Scene
from bench.yardsticks.bare_loop import BareLoop
from bench.yardsticks.pgbench import Pgbench

SLOWER: Final = 0.25
"""The share of the jobs that slower queues get, so that a round does not last minutes: a rate is a rate."""

REJECTED: Final = 0.1
"""The share of jobs that lack funds, where the body through the ORM is compared."""


class Competitor(Protocol):
    """Somebody who is measured round by round."""

    @property
    def name(self) -> str:
        """As it is asked for."""

    @property
    def jobs(self) -> int:
        """How many jobs it gets in a round."""

    def install(self) -> Mapping[str, str]:
        """Make its environment, once; returns versions. Raises `CannotRun`."""

    def rate(self) -> float:
        """Transfers a second in one more round. Raises `CheckFailed`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two that are compared, by name."""

    ours: str
    other: str


OURS: Final = Trivet.name
SINGLE: Final = TrivetSingly.name
BARE_LOOP: Final = BareLoop.name


def choices() -> list[str]:
    """Whom one can ask for."""
    return [Celery.name, CeleryOrm.name, Pgbench.name, *PEERS]


def pairs(against: Sequence[str]) -> dict[str, Pair]:
    """What is compared, by the key of its ratio; the bare loop is always there."""
    with_ours = [BARE_LOOP, *(name for name in against if name != CeleryOrm.name)]
    compared = {name.replace("-", "_"): Pair(OURS, name) for name in with_ours}
    if CeleryOrm.name in against:
        compared["single_body"] = Pair(SINGLE, CeleryOrm.name)
    return compared


def competitors(scene: Scene, against: Sequence[str]) -> list[Competitor]:
    """Ours first, then what it is compared with."""
    full, few = scene.jobs, max(100, round(scene.jobs * SLOWER))
    line: list[Competitor] = [
        Drain(scene, Trivet(scene), full, task=Trivet.task),
        Drain(scene, BareLoop(scene), full, task=BareLoop.task),
    ]
    if Celery.name in against:
        line.append(Drain(scene, Celery(scene), few))
    if Pgbench.name in against:
        line.append(Pgbench(scene, full))
    line += [Drain(scene, make(scene), few) for name, make in PEERS.items() if name in against]
    if CeleryOrm.name in against:
        line.append(Drain(scene, TrivetSingly(scene), full, rejected=REJECTED, task=TrivetSingly.task))
        line.append(Drain(scene, CeleryOrm(scene), few, rejected=REJECTED))
    return line
