"""The event loop turns once more after a node has taken something, so that the pool is given it at once."""

import select
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from worker.intake.transport import NUDGE, Poller


@dataclass
class Taking:
    """A node that takes something in each tick, or nothing."""

    takes: bool

    def tick(self) -> bool:
        return self.takes

    def fileno(self) -> None:
        return None


@pytest.mark.parametrize("takes", [True, False])
def test_the_loop_s_next_wait_is_over_at_once_if_and_only_if_something_was_taken(*, takes: bool) -> None:
    poller = Poller()
    channel: Any = SimpleNamespace(intake=Taking(takes))

    for _ in range(3):
        poller._register_BRPOP(channel)  # noqa: SLF001 - as kombu calls it in each tick
        (fileno,) = [fileno for fileno, (_, waits_for) in poller.fds.items() if waits_for == NUDGE]
        assert bool(select.select([fileno], [], [], 0)[0]) is takes
        poller.on_readable(fileno)
        assert select.select([fileno], [], [], 0)[0] == []

    poller.close()
