"""Schedules: when beat enqueues a job by itself, as data beside the job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from worker.execution.command import Command
from worker.execution.crontab import Crontab

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

ON_TIME: Final = timedelta(seconds=60)
"""How late a tick may be taken and still count as on time: a second beat takes over sooner than that."""

PORTION: Final = 500
"""Missed ticks that are taken in one transaction."""


class CatchUp(StrEnum):
    """What becomes of ticks that were missed, because no beat ran or PostgreSQL was away."""

    ONCE = "once"
    """One job for all of them, under the last tick's id."""

    SKIP = "skip"
    """Nothing: only the last one is taken, if it is no more than a minute late."""

    EACH = "each"
    """A job for each of them."""


@dataclass(frozen=True)
class Every:
    """A tick every so many seconds, counted from 1970 in UTC: all beats tick in the same moments."""

    seconds: int

    def __post_init__(self) -> None:
        if self.seconds < 1:
            raise ValueError(f"a schedule ticks at most once a second, not every {self.seconds} s")

    def __str__(self) -> str:
        return f"every {self.seconds} s"

    def after(self, moment: datetime) -> datetime:
        """The first tick after a moment."""
        return self.until(moment) + timedelta(seconds=self.seconds)

    def until(self, moment: datetime) -> datetime:
        """The last tick that is not after a moment."""
        step = timedelta(seconds=self.seconds)
        return EPOCH + (moment - EPOCH) // step * step


@dataclass(frozen=True)
class Schedule:
    """When a job is enqueued, and with which payload: a command, or its fields.

    `name` is that of the entry, by default the task's: a second schedule of one task needs a name.
    """

    when: Every | Crontab
    payload: Command | Mapping[str, Any] = field(default_factory=dict)
    catch_up: CatchUp = CatchUp.ONCE
    name: str | None = None

    def missed(self, settled_to: datetime, now: datetime) -> bool:
        """Whether more than one tick is due."""
        return self.when.after(self.when.after(settled_to)) <= now

    def due(self, settled_to: datetime, now: datetime) -> "Due":
        """What is to be done about the ticks after `settled_to`, up to `now`."""
        last = self.when.until(now)
        if last <= settled_to:
            return Due((), settled_to)
        match self.catch_up:
            case CatchUp.ONCE:
                return Due((last,), last)
            case CatchUp.SKIP:
                return Due((last,) if now - last <= ON_TIME else (), last)
            case CatchUp.EACH:
                ticks = self._some_after(settled_to, last)
                return Due(ticks, ticks[-1])

    def _some_after(self, settled_to: datetime, last: datetime) -> Sequence[datetime]:
        ticks = [self.when.after(settled_to)]
        while ticks[-1] < last and len(ticks) < PORTION:
            ticks.append(self.when.after(ticks[-1]))
        return ticks


@dataclass(frozen=True)
class Due:
    """The ticks that are taken now; with them, all up to `settled_to` are taken or let go."""

    ticks: Sequence[datetime]
    settled_to: datetime
