"""A node's intake: leases on one side, gathering on the other, and the clock that keeps both going.

Everything runs in the event loop of the main process. Nothing here lets an error of Redis through: what could not
be done is done again, and the node never ends for it.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from worker.crash_points import crash_point
from worker.intake.arrivals import Arrival
from worker.intake.engine import Timer
from worker.intake.gathering import Gathering
from worker.intake.leases import Leases
from worker.intake.receiving import ToCelery, receive
from worker.intake.specials import Specials
from worker.intake.task_events import TaskEvents
from worker.intake.tending import TEND_EVERY_S
from worker.intake.undisturbed import undisturbed
from worker.settings import Settings
from worker.stores.redis import open_redis

POLL_EVERY_S: Final = 1.0
"""A look at the queues without a wake-up: it covers a push that was lost."""

SWEEP_EVERY_S: Final = 1.5
AWAY_AGAIN_S: Final = 0.5

_log = structlog.get_logger()


class IntakeNode:
    """What one worker node takes in. It outlives the connections of its consumer."""

    def __init__(self, settings: Settings, known: Collection[str]) -> None:
        self._settings = settings
        self._known = known
        self._queues: tuple[str, ...] = ()
        self._room = 0
        self._leases: Leases | None = None
        self._gathering: Gathering | None = None
        self._special: ToCelery | None = None
        self.specials = Specials(self)
        self._hungry = True
        self._away_until = 0.0
        self._returning: dict[int, int | None] = {}
        self._clocks: list[Any] = []
        self._joined = False

    # What Celery and kombu tell

    @property
    def gathering(self) -> Gathering | None:
        """What is in hand, once the node serves."""
        return self._gathering

    @property
    def away(self) -> bool:
        """Whether Redis did not answer a moment ago."""
        return time.monotonic() < self._away_until

    def serve(self, pool: Any, timer: Timer, revoked: Collection[str], events: TaskEvents) -> None:
        """Begin, or begin again on a new connection of the consumer, whose timers went with the old one.

        `revoked` are the task ids that operators took back, as Celery keeps them. `events` are the consumer's.
        """
        if self._gathering is None:
            self._gathering = Gathering(self, pool, timer, self._settings, events, revoked)
        for clock in self._clocks:
            clock.cancel()
        self._clocks = [
            timer.call_repeatedly(TEND_EVERY_S, self._gathering.tend),
            timer.call_repeatedly(POLL_EVERY_S, self._poll),
            timer.call_repeatedly(SWEEP_EVERY_S, self._sweep),
            timer.call_repeatedly(self._settings.lease_s / 3, self._renew),
        ]
        self._gathering.recollect()
        self.specials.give_back_unstarted()

    def consume(self, queues: Iterable[str], room: int, special: ToCelery, prefix: str = "") -> None:
        """Take from these queues, with so many messages in hand; `special` delivers what takes Celery's own way."""
        self._queues, self._special = tuple(queues), special
        self._room = room or self._settings.batch_max
        if self._leases is None:
            self._leases = Leases(
                open_redis(self._settings, client_name="trivet-intake", timeout_s=self._settings.silence_s),
                queues=lambda: self._queues,
                lease_s=self._settings.lease_s,
                prefix=prefix,
            )

    def stop_consuming(self) -> None:
        """Take nothing more; what is in hand goes on."""
        self._queues = ()

    def fileno(self) -> int | None:
        """The socket that becomes readable when something comes in."""
        return self._leases.line.fileno() if self._leases else None

    def woken(self) -> None:
        """The socket is readable."""
        with self._trouble():
            if self._held_by_us().line.read_pushes():
                self._hungry = True

    def tick(self) -> bool:
        """Take what there is room for, and say whether anything may have gone to the pool.

        Called in each turn of the event loop, so nearly always there is nothing to do.
        """
        if self._leases is None or self._gathering is None or self.away:
            return False
        if not self._joined:
            self._join()
        if not (self._hungry or self._leases.line.woken):
            return False
        return self._take(self._leases, self._gathering)

    def close(self) -> None:
        """Take nothing more and hand back what has not been started."""
        self._queues = ()
        if self._gathering is not None and self._leases is not None:
            crash_point("before_give_back")
            self.give_back(self._gathering.close())
            self.specials.give_back_unstarted()
            crash_point("after_give_back")

    def leave(self) -> None:
        """Hand back everything and stop being a node."""
        if self._leases is not None:
            crash_point("before_leave")
            with self._trouble():
                self._leases.leave()
            self._leases.close()
            self._leases = None

    # What gathering and the special messages tell (it is the `Holder` of both)

    def starting(self, tags: Collection[int], deaths: int | None) -> Collection[int] | None:
        """Mark messages as running; None while Redis is away."""
        try:
            with undisturbed():
                return self._held_by_us().mark_running(tags, deaths)
        except (RedisError, OSError) as error:
            self._rest(error)
            return None

    def done(self, tags: Iterable[int]) -> None:
        """Acknowledge in one go; what fails is acknowledged with the next ones."""
        if self._leases is not None:
            with self._trouble():
                self._leases.acknowledge(tags)

    def waiting_again(self, tags: Iterable[int], deaths: int | None) -> None:
        """Mark messages as not running any more."""
        with self._trouble():
            self._held_by_us().mark_waiting(tags, deaths)

    def give_back(self, tags: Iterable[int], deaths: int | None = None) -> None:
        """Put messages back into their queues, as suspects if `deaths` are given; if not now, a little later."""
        self._returning.update(dict.fromkeys(tags, deaths))
        with self._trouble():
            for tag, died in self._returning.items():
                if died is not None:
                    self._held_by_us().mark_waiting([tag], died)
            self._held_by_us().give_back(self._returning)
            self._returning.clear()
        self._hungry = True

    def gather(self, arrival: Arrival) -> None:
        """Let a special message end like an ordinary one."""
        if self._gathering is not None:
            self._gathering.add(arrival)
            self._gathering.flush()

    # The steps

    def _take(self, leases: Leases, gathering: Gathering) -> bool:
        room = self._room - gathering.in_hand - len(self.specials)
        if room <= 0 or not self._queues:
            return False
        self._hungry = False
        with self._trouble():
            reserved = leases.reserve(room)
            crash_point("after_reserve")
            if reserved.lost and not leases.renew():
                self._take_new_identity(leases, gathering)
            self._hungry = reserved.lost
            for leased in reserved.messages:
                receive(leased, self._known, gathering, self.specials, self._special)
            self._hungry = self._hungry or reserved.more
        gathering.flush()
        return True

    def _poll(self) -> None:
        self._hungry = True

    def _renew(self) -> None:
        if self._leases is None or self._gathering is None or not self._joined:
            return
        with self._trouble():
            crash_point("before_renew")
            self._leases.acknowledge()
            if not self._leases.renew():
                self._take_new_identity(self._leases, self._gathering)
            if self._returning:
                self.give_back(())

    def _sweep(self) -> None:
        if self._leases is None or not self._joined:
            return
        with self._trouble():
            crash_point("before_sweep")
            swept = self._leases.sweep()
            if swept.nodes:
                self._hungry = True
                _log.warning("nodes.swept", nodes=swept.nodes, messages=swept.messages)

    def _join(self) -> None:
        with self._trouble():
            self._held_by_us().join()
            self._joined = True
            crash_point("after_join")

    def _take_new_identity(self, leases: Leases, gathering: Gathering) -> None:
        """The lease was lost, so others may have what was not started: drop it, and go on as another node."""
        forgotten = leases.take_new_identity()
        gathering.forget(forgotten)
        self.specials.forget(forgotten)
        self._hungry = True
        _log.warning("lease.lost", node=leases.node)

    def _held_by_us(self) -> Leases:
        if self._leases is None:
            raise AssertionError("a node that has not taken anything holds nothing")
        return self._leases

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            with undisturbed():
                yield
        except (RedisError, OSError) as error:
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._hungry = True
        if self.away:
            return  # it is known, and the line does not even try
        self._away_until = time.monotonic() + AWAY_AGAIN_S
        _log.warning("store.away", error=f"Redis: {error}")
