"""Special messages in hand: each takes Celery's own way, alone, from its lease to its end.

Celery knows them as requests (`worker.intake.request`), the transport by their tags. Neither is asked what became
of one that Celery dropped: the node that leases them keeps its own books, here.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import structlog

from worker.execution.job import JOBS
from worker.intake.arrivals import Arrival
from worker.intake.engine import dropped

DISCARDED: Final = ("unreadable", "Celery cannot read it")

_log = structlog.get_logger()


class Holder(Protocol):
    """Who holds the messages for us; errors are its own to bear."""

    def starting(self, tags: Collection[int], deaths: int | None) -> Collection[int] | None:
        """Messages run, alone after so many deaths."""

    def done(self, tags: Iterable[int]) -> None:
        """Messages have been brought to an end."""

    def give_back(self, tags: Iterable[int], deaths: int | None = None) -> None:
        """Messages go back into their queues, as suspects if `deaths` are given."""

    def gather(self, arrival: Arrival) -> None:
        """A message is to end like an ordinary one."""


@dataclass(slots=True)
class Special:
    """A message that Celery has; `job` finds its pool's job. `ended`: its job came to an end that is recorded."""

    arrival: Arrival
    job: Callable[[], Any] = lambda: None
    running: bool = False
    ended: bool = False

    @property
    def in_pool(self) -> bool:
        """Whether a pool process runs it, or the pool will still give it to one."""
        job = self.job()
        return self.running or not (job is None or dropped(job))


class Specials:
    """The special messages of one node, by tag. Whoever asks about a tag that is not there is late."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._in_hand: dict[int, Special] = {}

    def __len__(self) -> int:
        return len(self._in_hand)

    def add(self, arrival: Arrival) -> None:
        """A message goes to Celery."""
        self._in_hand[arrival.tag] = Special(arrival)

    def may_start(self, tag: int) -> bool:
        """Whether it is still ours; Celery asks right before it goes to the pool."""
        return tag in self._in_hand

    def submitted(self, tag: int, job: Callable[[], Any]) -> None:
        """It went to the pool; `job` returns what the pool knows of it, or None when that is gone."""
        if tag in self._in_hand:
            self._in_hand[tag].job = job

    def accepted(self, tag: int) -> None:
        """A pool process runs it: should this node die now, that counts as its death."""
        if tag in self._in_hand:
            special = self._in_hand[tag]
            special.running = True
            self._holder.starting([tag], special.arrival.deaths or 0)

    def died(self, tag: int) -> None:
        """Its process died. It ran alone, so that counts, and it goes back with the number."""
        special = self._in_hand.pop(tag, None)
        if special is not None:
            deaths = (special.arrival.deaths or 0) + 1
            _log.error("special.died", task=special.arrival.message.task, deaths=deaths)
            self._holder.give_back([tag], deaths)

    def ended(self, tag: int) -> None:
        """Its job came to an end in our own run of it, which is in the ledger."""
        if tag in self._in_hand:
            self._in_hand[tag].ended = True

    def give_back(self, tag: int) -> None:
        """It goes back into its queue, and nothing is counted."""
        if self._in_hand.pop(tag, None) is not None:
            self._holder.give_back([tag])

    def settle(self, tag: int) -> None:
        """Celery has acknowledged it, which is trusted of a job only when our own run of it has come to an end.

        One that no pool process had, Celery could not read. One that something else ended there comes again, and
        that is counted like a death, so that it is parked in the end.
        """
        special = self._in_hand.pop(tag, None)
        if special is None:
            return
        if special.ended or special.arrival.message.task not in JOBS:
            self._holder.done([tag])
        elif special.running:
            deaths = (special.arrival.deaths or 0) + 1
            _log.error("special.not_ended", task=special.arrival.message.task, times=deaths)
            self._holder.give_back([tag], deaths)
        else:
            self._holder.gather(replace(special.arrival, give_up=DISCARDED))

    def refuse(self, tag: int, why: tuple[str, str]) -> None:
        """Celery choked on it: it is parked."""
        special = self._in_hand.pop(tag, None)
        if special is not None:
            self._holder.gather(replace(special.arrival, give_up=why))

    def give_back_unstarted(self) -> None:
        """Give back what is not in the pool: Celery's consumer has ended, and dropped it."""
        tags = [tag for tag, special in self._in_hand.items() if not special.in_pool]
        self.forget(tags)
        if tags:
            self._holder.give_back(tags)

    def forget(self, tags: Iterable[int]) -> None:
        """Somebody else may have them: they do not start here any more."""
        for tag in tags:
            self._in_hand.pop(tag, None)
