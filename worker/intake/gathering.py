"""Gathering, in the main process: what arrives while the pool is busy forms the next batch of its task."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from worker.intake.pool_process import AWAY_AGAIN_S, Report, park_job, run_batch, tend
from worker.messages import Message
from worker.settings import Settings

TEND_EVERY_S: Final = 1.0
BUSY_AGAIN_S: Final = 0.02
DEATHS_MAX: Final = 3
PARK_AFTER_S: Final = 0.1

_log = structlog.get_logger()


@dataclass(slots=True)
class Arrival:
    """A message in hand, how to settle it, and how often its process died while it ran alone."""

    message: Message
    acknowledge: Callable[[], None]
    deaths: int = 0
    suspect: bool = False
    due: Any = None  # the timer's entry of one that waits for its time


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

    def __init__(self, pool: Pool, timer: Timer, settings: Settings) -> None:
        self._pool = pool
        self._timer = timer
        self._settings = settings
        self._waiting: dict[str, deque[Arrival]] = {}
        self._suspects: deque[tuple[str, Arrival]] = deque()
        self._scheduled: dict[int, Arrival] = {}
        self._in_flight = 0
        self._closing = False
        self._tending = False
        self._held_back = False
        self._clock: Any = None

    def add(self, arrival: Arrival) -> None:
        """Take a message in; it runs with the next batch of its task."""
        self._waiting.setdefault(arrival.message.task, deque()).append(arrival)

    def add_later(self, delay_s: float, arrival: Arrival, ready: Callable[[], Any]) -> None:
        """Take a message in that is to run after a delay; `ready` is called when its time has come."""
        self._scheduled[id(arrival)] = arrival
        arrival.due = self._timer.call_after(delay_s, self._come_due, (arrival, ready))

    def _come_due(self, arrival: Arrival, ready: Callable[[], Any]) -> None:
        del self._scheduled[id(arrival)]
        ready()
        self.add(arrival)
        self.flush()

    def close(self) -> None:
        """Start nothing more: the node is shutting down."""
        self._closing = True

    def start(self) -> None:
        """Begin, or begin again on a new connection.

        What has not been started is dropped: the broker delivers it again. Celery cancels the timers that were
        set while a connection was made when that connection is lost, so the clock is wound up again too.
        """
        self._waiting.clear()
        self._suspects.clear()
        while self._scheduled:
            self._scheduled.popitem()[1].due.cancel()
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self._timer.call_repeatedly(TEND_EVERY_S, self._tend)

    def flush(self) -> None:
        """Hand batches to the pool as long as a process is free."""
        while not (self._held_back or self._closing) and self._in_flight < self._pool.num_processes:
            if self._suspects:
                task, suspect = self._suspects.popleft()
                self._submit(task, [suspect])
            elif self._waiting:
                self._submit(*self._next_batch())
            else:
                break

    def _next_batch(self) -> tuple[str, list[Arrival]]:
        # Fair over tasks: the task that is served moves to the end.
        task = next(iter(self._waiting))
        waiting = self._waiting.pop(task)
        batch = [waiting.popleft() for _ in range(min(len(waiting), self._settings.batch_max))]
        if waiting:
            self._waiting[task] = waiting
        return task, batch

    def _submit(self, task: str, batch: list[Arrival]) -> None:
        messages = [arrival.message for arrival in batch]
        self._apply(run_batch, (task, messages), task, batch)

    def _park(self, task: str, arrival: Arrival) -> None:
        why = f"its process died {arrival.deaths} times while it ran alone"
        self._apply(park_job, (task, arrival.message, why), task, [arrival])

    def _apply(self, target: Callable[..., Report], args: Sequence[Any], task: str, batch: list[Arrival]) -> None:
        self._in_flight += 1
        self._pool.apply_async(
            target,
            args,
            callback=lambda report: self._ran(task, batch, report),
            error_callback=lambda failure: self._died(task, batch, failure),
        )

    def _ran(self, task: str, batch: list[Arrival], report: Report) -> None:
        self._in_flight -= 1
        if report.outcomes is None:
            self._timer.call_after(AWAY_AGAIN_S, self._again, (task, batch))
            return
        for arrival in batch:
            arrival.acknowledge()
        self._heed(report)
        self.flush()

    def _again(self, task: str, batch: list[Arrival]) -> None:
        self._waiting.setdefault(task, deque()).extendleft(reversed(batch))
        self.flush()

    def _died(self, task: str, batch: list[Arrival], failure: object) -> None:
        """Run each job of a batch that killed its process alone; only a death while alone counts."""
        self._in_flight -= 1
        _log.error("batch.died", task=task, jobs=len(batch), error=str(failure))
        for arrival in batch:
            arrival.deaths += arrival.suspect
            arrival.suspect = True
            if arrival.deaths < DEATHS_MAX:
                self._suspects.append((task, arrival))
            else:
                self._timer.call_after(PARK_AFTER_S, self._park, (task, arrival))
        self.flush()

    def _heed(self, report: Report) -> None:
        if report.busy:
            self._timer.call_after(BUSY_AGAIN_S, self._tend)
        held_back = report.owed > self._settings.owed_max
        if held_back != self._held_back:
            _log.warning("intake.paused" if held_back else "intake.resumed", owed=report.owed)
        self._held_back = held_back

    def _tend(self) -> None:
        if self._tending or self._closing:
            return
        self._tending = True
        self._pool.apply_async(tend, callback=self._tended, error_callback=self._tending_failed)

    def _tended(self, report: Report) -> None:
        self._tending = False
        self._heed(report)
        self.flush()

    def _tending_failed(self, failure: object) -> None:
        self._tending = False
        _log.error("tending.failed", error=str(failure))
