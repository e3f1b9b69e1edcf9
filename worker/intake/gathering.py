"""Gathering, in the main process: what arrives while the pool is busy forms the next batch of its task."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import structlog

from worker.crash_points import crash_point
from worker.intake.arrivals import Arrival, Arrivals
from worker.intake.engine import Pool, Timer, dropped, is_death
from worker.intake.pool_process import AWAY_AGAIN_S, Report, park_job, run_batch
from worker.intake.task_events import TaskEvents
from worker.intake.tending import Tending
from worker.settings import Settings

DEATHS_MAX: Final = 3

_log = structlog.get_logger()


class Holder(Protocol):
    """Who holds the messages for us, and hears what becomes of them; errors are its own to bear."""

    def starting(self, tags: Collection[int], deaths: int | None) -> Collection[int] | None:
        """Messages go to the pool. Returns those that must not, or None: none may now, ask again later."""

    def done(self, tags: Iterable[int]) -> None:
        """Messages have been brought to an end."""

    def waiting_again(self, tags: Iterable[int], deaths: int | None) -> None:
        """Messages that went to the pool will go again."""


class Gathering:
    """The arrivals of one node, by task, and the batches of them that are in the pool.

    There is no linger: an arrival that finds a free pool process goes at once. Everything runs in the main process,
    nearly always in its event loop. Only while Celery shuts down another thread fires the timers, and then nothing
    starts any more (see `undisturbed`).
    """

    def __init__(
        self,
        holder: Holder,
        pool: Pool,
        timer: Timer,
        settings: Settings,
        events: TaskEvents,
        revoked: Collection[str] = (),
    ) -> None:
        self._holder = holder
        self._events = events
        self._revoked = revoked
        self._pool = pool
        self._timer = timer
        self._settings = settings
        self._waiting = Arrivals(settings.batch_max)
        self._tending = Tending(pool, timer, settings, self.flush)
        self._scheduled: dict[int, Arrival] = {}
        self._in_pool: list[tuple[Any, list[Arrival]]] = []
        self._closing = False
        self._cancelled = False
        self._resting = False

    @property
    def in_hand(self) -> int:
        """How many messages wait or run; those that wait for their time do not count."""
        return len(self._waiting) + len(self.active())

    def active(self) -> list[Arrival]:
        """What is in the pool."""
        return [arrival for _, batch in self._in_pool for arrival in batch]

    def pids(self) -> dict[str, int]:
        """The pool processes of what is in the pool, by task id, as far as they have said that they run it."""
        return {
            arrival.message.task_id: pid
            for result, batch in self._in_pool
            for pid in result.worker_pids()
            for arrival in batch
        }

    def reserved(self) -> list[Arrival]:
        """What waits for the pool."""
        return self._waiting.all()

    def scheduled(self) -> list[Arrival]:
        """What waits for its time."""
        return list(self._scheduled.values())

    def add(self, arrival: Arrival) -> None:
        """Take a message in; it runs with the next batch of its task, or alone if there is anything with it."""
        self._waiting.add(arrival)

    def receive(self, arrival: Arrival, headers: Mapping[str, Any], delay_s: float = 0) -> None:
        """Take in what was taken from a queue, with all the headers that its producer gave it."""
        self._events.received(arrival.message, headers)
        if delay_s > 0:
            self._add_later(delay_s, arrival)
        else:
            self.add(arrival)

    def forget(self, tags: Collection[int]) -> None:
        """Drop what has not been started: it is not ours any more."""
        gone = set(tags)
        self._waiting.drop(gone)
        for tag in gone & self._scheduled.keys():
            self._scheduled.pop(tag).due.cancel()

    def close(self) -> list[int]:
        """Start nothing more, the node is shutting down; returns the tags of all that has not been started."""
        self._closing = True
        self._tending.close()
        unstarted = [arrival.tag for arrival in self.reserved()] + list(self._scheduled)
        self.forget(unstarted)
        return unstarted

    def cancel(self) -> None:
        """Kill the processes that run batches, the node is to end at once: that is no death of a job's making."""
        self._closing = self._cancelled = True
        self._tending.close()
        for result, _ in self._in_pool:
            for pid in result.worker_pids():
                self._pool.terminate_job(pid)

    def flush(self) -> None:
        """Hand batches to the pool as long as a process is free."""
        while self._may_start() and (batch := self._waiting.next_batch()):
            if not self._start(batch):
                break

    def _may_start(self) -> bool:
        free = len(self._in_pool) < self._pool.num_processes
        return free and not (self._tending.held_back or self._closing or self._resting)

    def _start(self, batch: list[Arrival]) -> bool:
        """Mark a batch as running and hand it to the pool; says whether another one may follow at once."""
        crash_point("before_running")
        refused = self._holder.starting([arrival.tag for arrival in batch], batch[0].deaths)
        crash_point("after_running")
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
        try:
            result = self._pool.apply_async(
                *_work(batch),
                callback=lambda report: self._ran(batch, report),
                error_callback=lambda failure: self._died(batch, failure),
                timeout=self._settings.batch_limit_s,
            )
        except Exception as error:  # noqa: BLE001 - whatever a message does to the pool, the node goes on
            self._not_sent(batch, error)
            return
        self._in_pool.append((result, batch))
        crash_point("after_submit")
        self._events.started(batch)

    def _not_sent(self, batch: list[Arrival], error: Exception) -> None:
        """Send each message of a batch that cannot be sent alone; one that cannot be even then is parked.

        It is parked without its headers, which are what cannot be pickled. An error of the system is no message's.
        """
        _log.error("batch.not_sent", task=batch[0].message.task, jobs=len(batch), error=repr(error))
        self._holder.waiting_again([arrival.tag for arrival in batch], batch[0].deaths)
        if isinstance(error, OSError | MemoryError) or not (len(batch) > 1 or batch[0].message.headers):
            self._again_later(batch)
            return
        for arrival in batch:
            if len(batch) > 1:
                arrival.deaths = arrival.deaths or 0
            else:
                arrival.message = replace(arrival.message, headers={})
                arrival.give_up = arrival.give_up or ("unreadable", f"no process can be sent it: {error!r}")
            self.add(arrival)

    def recollect(self) -> None:
        """Take back what the pool has dropped without a word, and give what waits for its time a timer again.

        With a connection, also one that only began, Celery drops every timer that was set meanwhile.
        """
        self._resting = False
        for arrival in list(self._scheduled.values()):
            arrival.due.cancel()
            self._wait_until_due(arrival)
        for batch in [batch for result, batch in self._in_pool if dropped(result)]:
            self._back_from_pool(batch)
            self._holder.waiting_again([arrival.tag for arrival in batch], batch[0].deaths)
            self._again_later(batch)
        self._tending.recollect()
        self.flush()

    def _back_from_pool(self, batch: list[Arrival]) -> None:
        self._in_pool = [each for each in self._in_pool if each[1] is not batch]

    def _ran(self, batch: list[Arrival], report: Report) -> None:
        self._back_from_pool(batch)
        tags = [arrival.tag for arrival in batch]
        if report.outcomes is None:
            self._holder.waiting_again(tags, None)
            if report.away:
                self._rest(batch)
            else:
                self._again_later(batch)
            return
        crash_point("before_acknowledge")
        self._holder.done(tags)
        crash_point("after_acknowledge")
        self._events.ended(batch, report)
        self._tending.heed(report)
        self.flush()

    def _rest(self, batch: list[Arrival]) -> None:
        """PostgreSQL is away: for a moment nothing starts, and what is in hand leaves no room for more."""
        self._waiting.put_back(batch)
        if not self._resting:
            self._resting = True
            self._timer.call_after(AWAY_AGAIN_S, self._go_on)

    def _go_on(self) -> None:
        self._resting = False
        self.flush()

    def _again_later(self, batch: list[Arrival]) -> None:
        for arrival in batch:
            self._add_later(AWAY_AGAIN_S, arrival)

    def _add_later(self, delay_s: float, arrival: Arrival) -> None:
        self._scheduled[arrival.tag] = arrival
        arrival.due_at = time.monotonic() + delay_s
        self._wait_until_due(arrival)

    def _wait_until_due(self, arrival: Arrival) -> None:
        left_s = max(0.0, arrival.due_at - time.monotonic())
        arrival.due = self._timer.call_after(left_s, self._come_due, (arrival,))

    def _come_due(self, arrival: Arrival) -> None:
        if self._scheduled.pop(arrival.tag, None) is not None:
            self.add(arrival)
            self.flush()

    def _died(self, batch: list[Arrival], failure: Any) -> None:
        """Run each job of a batch that killed its process alone; only a death while alone counts."""
        self._back_from_pool(batch)
        if self._cancelled:
            return
        if not is_death(failure):
            _log.error("batch.failed", task=batch[0].message.task, jobs=len(batch), error=str(failure))
            self._holder.waiting_again([arrival.tag for arrival in batch], None)
            self._again_later(batch)
            return
        task, deaths = batch[0].message.task, 0 if batch[0].deaths is None else batch[0].deaths + 1
        _log.error("batch.died", task=task, jobs=len(batch), error=str(failure))
        crash_point("after_death")
        self._holder.waiting_again([arrival.tag for arrival in batch], deaths)
        for arrival in batch:
            arrival.deaths = deaths
            self.add(arrival)
        self.flush()

    def tend(self) -> None:
        """Let a pool process look after what was left behind."""
        self._tending.tend()


def _work(batch: list[Arrival]) -> tuple[Callable[..., Report], Sequence[Any]]:
    """What the pool is to do with a batch: a job that is given up, or died too often, is parked."""
    first = batch[0]
    if first.deaths is not None and first.deaths >= DEATHS_MAX:
        first.give_up = ("poison", f"its process died {first.deaths} times while it ran alone")
    if first.give_up is not None:
        return park_job, (first.message, *first.give_up)
    return run_batch, (first.message.task, [arrival.message for arrival in batch])
