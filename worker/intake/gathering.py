"""Gathering, in the main process: what arrives while the pool is busy forms the next batch of its task."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import structlog

from worker.intake.pool_process import AWAY_AGAIN_S, Report, park_job, run_batch, tend
from worker.messages import Message
from worker.settings import Settings

TEND_EVERY_S: Final = 1.0
BUSY_AGAIN_S: Final = 0.02
DEATHS_MAX: Final = 3
BATCH_BYTES: Final = 16 * 1024 * 1024

_log = structlog.get_logger()


@dataclass(slots=True)
class Arrival:
    """A message in hand, by its tag.

    `deaths` is None until it is a suspect, which runs alone; then it counts the processes that died meanwhile.
    `give_up` says why it is parked instead of run, as a code and a text.
    """

    message: Message
    tag: int
    deaths: int | None = None
    give_up: tuple[str, str] | None = None
    due: Any = None  # the timer's entry of one that waits for its time


class Holder(Protocol):
    """Who holds the messages for us, and hears what becomes of them; errors are its own to bear."""

    def starting(self, tags: Collection[int], deaths: int | None) -> Collection[int] | None:
        """Messages go to the pool. Returns those that must not, or None: none may now, ask again later."""

    def done(self, tags: Iterable[int]) -> None:
        """Messages have been brought to an end."""

    def waiting_again(self, tags: Iterable[int], deaths: int | None) -> None:
        """Messages that went to the pool will go again."""


class Pool(Protocol):
    """The part of Celery's pool that is used."""

    num_processes: int

    def apply_async(self, target: Callable[..., Report], args: Sequence[Any] = (), **options: Any) -> Any:
        """Run `target` in a pool process."""


class Timer(Protocol):
    """The part of Celery's timer that is used."""

    def call_after(self, secs: float, fun: Callable[..., Any], args: Sequence[Any] = ()) -> Any:
        """Call once, after so many seconds."""

    def call_repeatedly(self, secs: float, fun: Callable[..., Any], args: Sequence[Any] = ()) -> Any:
        """Call again and again."""


class Gathering:
    """The arrivals of one node, by task, and the batches of them that are in the pool.

    There is no linger: an arrival that finds a free pool process goes at once. Everything runs in the event
    loop of the main process, so nothing here needs a lock.
    """

    def __init__(
        self, holder: Holder, pool: Pool, timer: Timer, settings: Settings, revoked: Collection[str] = ()
    ) -> None:
        self._holder = holder
        self._revoked = revoked
        self._pool = pool
        self._timer = timer
        self._settings = settings
        self._waiting: dict[str, deque[Arrival]] = {}
        self._alone: deque[Arrival] = deque()
        self._scheduled: dict[int, Arrival] = {}
        self._in_pool: list[tuple[Any, list[Arrival]]] = []
        self._tend_result: Any = None
        self._closing = False
        self._tending = False
        self._held_back = False

    @property
    def in_hand(self) -> int:
        """How many messages wait or run; those that wait for their time do not count."""
        return sum(map(len, self._waiting.values())) + len(self._alone) + len(self.active())

    def active(self) -> list[Arrival]:
        """What is in the pool."""
        return [arrival for _, batch in self._in_pool for arrival in batch]

    def reserved(self) -> list[Arrival]:
        """What waits for the pool."""
        return [arrival for arrivals in self._waiting.values() for arrival in arrivals] + list(self._alone)

    def scheduled(self) -> list[Arrival]:
        """What waits for its time."""
        return list(self._scheduled.values())

    def add(self, arrival: Arrival) -> None:
        """Take a message in; it runs with the next batch of its task, or alone if there is anything with it."""
        if arrival.deaths is not None or arrival.give_up is not None:
            self._alone.append(arrival)
        else:
            self._waiting.setdefault(arrival.message.task, deque()).append(arrival)

    def add_later(self, delay_s: float, arrival: Arrival) -> None:
        """Take a message in that is to run after a delay."""
        self._scheduled[arrival.tag] = arrival
        arrival.due = self._timer.call_after(delay_s, self._come_due, (arrival,))

    def forget(self, tags: Collection[int]) -> None:
        """Drop what has not been started: it is not ours any more."""
        gone = set(tags)
        for task, waiting in list(self._waiting.items()):
            self._waiting[task] = deque(arrival for arrival in waiting if arrival.tag not in gone)
        self._waiting = {task: waiting for task, waiting in self._waiting.items() if waiting}
        self._alone = deque(arrival for arrival in self._alone if arrival.tag not in gone)
        for tag in gone & self._scheduled.keys():
            self._scheduled.pop(tag).due.cancel()

    def close(self) -> list[int]:
        """Start nothing more, the node is shutting down; returns the tags of all that has not been started."""
        self._closing = True
        unstarted = [arrival.tag for arrival in self.reserved()] + list(self._scheduled)
        self.forget(unstarted)
        return unstarted

    def flush(self) -> None:
        """Hand batches to the pool as long as a process is free."""
        while not (self._held_back or self._closing) and len(self._in_pool) < self._pool.num_processes:
            if self._alone:
                batch = [self._alone.popleft()]
            elif self._waiting:
                batch = self._next_batch()
            else:
                break
            if not self._start(batch):
                break

    def _next_batch(self) -> list[Arrival]:
        # Fair over tasks: the task that is served moves to the end.
        task = next(iter(self._waiting))
        waiting = self._waiting.pop(task)
        batch: list[Arrival] = []
        size = 0
        while waiting and len(batch) < self._settings.batch_max and size < BATCH_BYTES:
            batch.append(waiting.popleft())
            size += len(batch[-1].message.body)
        if waiting:
            self._waiting[task] = waiting
        return batch

    def _start(self, batch: list[Arrival]) -> bool:
        """Mark a batch as running and hand it to the pool; says whether another one may follow at once."""
        refused = self._holder.starting([arrival.tag for arrival in batch], batch[0].deaths)
        if refused is None:
            self._again_later(batch)
            return False
        if ours := [arrival for arrival in batch if arrival.tag not in refused]:
            self._heed_revoked(ours)
            self._submit(ours)
        return True

    def _heed_revoked(self, batch: list[Arrival]) -> None:
        if not self._revoked:
            return
        for arrival in batch:
            if arrival.message.task_id in self._revoked:
                arrival.message = replace(arrival.message, revoked=True)

    def _submit(self, batch: list[Arrival]) -> None:
        result = self._pool.apply_async(
            *_work(batch),
            callback=lambda report: self._ran(batch, report),
            error_callback=lambda failure: self._died(batch, failure),
            timeout=self._settings.batch_limit_s,
        )
        self._in_pool.append((result, batch))

    def recollect(self) -> None:
        """Take back what the pool has dropped without a word.

        When Celery loses its connection it flushes the pool: what no process had accepted yet is discarded, and
        no callback follows.
        """
        for batch in [batch for result, batch in self._in_pool if _dropped(result)]:
            self._back_from_pool(batch)
            self._holder.waiting_again([arrival.tag for arrival in batch], batch[0].deaths)
            self._again_later(batch)
        if self._tending and _dropped(self._tend_result):
            self._tending = False
        self.flush()

    def _back_from_pool(self, batch: list[Arrival]) -> None:
        self._in_pool = [each for each in self._in_pool if each[1] is not batch]

    def _ran(self, batch: list[Arrival], report: Report) -> None:
        self._back_from_pool(batch)
        tags = [arrival.tag for arrival in batch]
        if report.outcomes is None:
            self._holder.waiting_again(tags, None)
            self._again_later(batch)
            return
        self._holder.done(tags)
        self._heed(report)
        self.flush()

    def _again_later(self, batch: list[Arrival]) -> None:
        for arrival in batch:
            self._scheduled[arrival.tag] = arrival
            arrival.due = self._timer.call_after(AWAY_AGAIN_S, self._come_due, (arrival,))

    def _come_due(self, arrival: Arrival) -> None:
        if self._scheduled.pop(arrival.tag, None) is not None:
            self.add(arrival)
            self.flush()

    def _died(self, batch: list[Arrival], failure: object) -> None:
        """Run each job of a batch that killed its process alone; only a death while alone counts."""
        self._back_from_pool(batch)
        task, deaths = batch[0].message.task, 0 if batch[0].deaths is None else batch[0].deaths + 1
        _log.error("batch.died", task=task, jobs=len(batch), error=str(failure))
        self._holder.waiting_again([arrival.tag for arrival in batch], deaths)
        for arrival in batch:
            arrival.deaths = deaths
            self.add(arrival)
        self.flush()

    def _heed(self, report: Report) -> None:
        if report.busy:
            self._timer.call_after(BUSY_AGAIN_S, self.tend)
        if report.owed is None:
            return
        held_back = report.owed > self._settings.owed_max
        if held_back != self._held_back:
            _log.warning("intake.paused" if held_back else "intake.resumed", owed=report.owed)
        self._held_back = held_back

    def tend(self) -> None:
        """Let a pool process look after what was left behind, unless one does so already."""
        if self._tending or self._closing:
            return
        self._tending = True
        self._tend_result = self._pool.apply_async(tend, callback=self._tended, error_callback=self._tending_failed)

    def _tended(self, report: Report) -> None:
        self._tending = False
        self._heed(report)
        self.flush()

    def _tending_failed(self, failure: object) -> None:
        self._tending = False
        _log.error("tending.failed", error=str(failure))


def _work(batch: list[Arrival]) -> tuple[Callable[..., Report], Sequence[Any]]:
    """What the pool is to do with a batch: a job that is given up, or died too often, is parked."""
    first = batch[0]
    if first.deaths is not None and first.deaths >= DEATHS_MAX:
        first.give_up = ("poison", f"its process died {first.deaths} times while it ran alone")
    if first.give_up is not None:
        return park_job, (first.message, *first.give_up)
    return run_batch, (first.message.task, [arrival.message for arrival in batch])


def _dropped(result: Any) -> bool:
    """Whether the pool knows nothing any more of what it was given, and has not answered."""
    return result._job not in result._cache and not result.ready()  # noqa: SLF001 - billiard offers no other way
