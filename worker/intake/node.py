"""A node's intake: leases on one side, gathering on the other, and the clock that keeps both going.

Everything runs in the event loop of the main process. Nothing here lets an error of Redis through: what could not
be done is done again, and the node never ends for it.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from worker.errors import Unreadable
from worker.execution.job import JOBS
from worker.intake.elements import Element, delay_s, read_element, unknown, unreadable
from worker.intake.gathering import TEND_EVERY_S, Arrival, Gathering, Timer
from worker.intake.leases import Leased, Leases
from worker.settings import Settings
from worker.stores.redis import open_redis

POLL_EVERY_S: Final = 1.0
"""A look at the queues without a wake-up: it covers a push that was lost."""

SWEEP_EVERY_S: Final = 1.5
AWAY_AGAIN_S: Final = 0.5

Special = Callable[[Element, Leased], None]

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
        self._special: Special | None = None
        self._hungry = True
        self._away_until = 0.0
        self._returning: set[int] = set()
        self._clocks: list[Any] = []
        self._joined = False

    # What Celery and kombu tell

    @property
    def gathering(self) -> Gathering | None:
        """What is in hand, once the node serves."""
        return self._gathering

    def serve(self, pool: Any, timer: Timer, revoked: Collection[str]) -> None:
        """Begin, or begin again on a new connection of the consumer, whose timers went with the old one.

        `revoked` are the task ids that operators took back, as Celery keeps them.
        """
        if self._gathering is None:
            self._gathering = Gathering(self, pool, timer, self._settings, revoked)
        for clock in self._clocks:
            clock.cancel()
        self._clocks = [
            timer.call_repeatedly(TEND_EVERY_S, self._gathering.tend),
            timer.call_repeatedly(POLL_EVERY_S, self._poll),
            timer.call_repeatedly(SWEEP_EVERY_S, self._sweep),
            timer.call_repeatedly(self._settings.lease_s / 3, self._renew),
        ]
        self._gathering.recollect()

    def consume(self, queues: Iterable[str], room: int, special: Special, prefix: str = "") -> None:
        """Take from these queues, with so many messages in hand; `special` delivers what takes Celery's own way."""
        self._queues, self._special = tuple(queues), special
        self._room = room or self._settings.batch_max
        if self._leases is None:
            self._leases = Leases(
                open_redis(self._settings, client_name="trivet-intake"),
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

    def tick(self) -> None:
        """Take what there is room for; called in each turn of the event loop, so nearly always nothing to do."""
        if self._leases is None or self._gathering is None or time.monotonic() < self._away_until:
            return
        if not self._joined:
            self._join()
        if self._hungry or self._leases.line.woken:
            self._take(self._leases, self._gathering)

    def settle(self, tag: int) -> None:
        """A message that took Celery's own way has been brought to an end."""
        self.done([tag])

    def give_back(self, tags: Iterable[int]) -> None:
        """Put messages back into their queues; if that cannot be done now, a little later."""
        self._returning.update(tags)
        with self._trouble():
            self._held_by_us().give_back(self._returning)
            self._returning.clear()

    def close(self) -> None:
        """Take nothing more and hand back what has not been started."""
        self._queues = ()
        if self._gathering is not None and self._leases is not None:
            self.give_back(self._gathering.close())

    def leave(self) -> None:
        """Hand back everything and stop being a node."""
        if self._leases is not None:
            with self._trouble():
                self._leases.leave()
            self._leases.close()
            self._leases = None

    # What gathering tells (it is a `Holder`)

    def starting(self, tags: Collection[int], deaths: int | None) -> Collection[int] | None:
        """Mark messages as running; None while Redis is away."""
        try:
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

    # The steps

    def _take(self, leases: Leases, gathering: Gathering) -> None:
        room = self._room - gathering.in_hand
        if room <= 0 or not self._queues:
            return
        self._hungry = False
        with self._trouble():
            reserved = leases.reserve(room)
            if reserved.lost and not leases.renew():
                self._take_new_identity(leases, gathering)
            self._hungry = reserved.lost
            for leased in reserved.messages:
                self._receive(leased, gathering)
            self._hungry = self._hungry or len(reserved.messages) >= room
        gathering.flush()

    def _receive(self, leased: Leased, gathering: Gathering) -> None:
        try:
            element = read_element(leased.raw)
        except Unreadable as error:
            why = ("unreadable", str(error))
            gathering.add(Arrival(unreadable(leased.raw), leased.tag, leased.deaths, give_up=why))
            return
        message = element.message
        if message.task not in self._known:
            why = ("unknown_task", f"no task is named {message.task[:200]}")
            gathering.add(Arrival(unknown(message), leased.tag, leased.deaths, give_up=why))
        elif self._special is not None and (element.special or message.task not in JOBS):
            self._hand_to_celery(self._special, element, leased, gathering)
        else:
            self._gather(Arrival(message, leased.tag, leased.deaths), delay_s(element.eta), gathering)

    def _hand_to_celery(self, special: Special, element: Element, leased: Leased, gathering: Gathering) -> None:
        try:
            special(element, leased)
        except (RedisError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a message does to Celery, the node goes on
            why = ("unreadable", f"Celery cannot read it: {error!r}")
            gathering.add(Arrival(element.message, leased.tag, leased.deaths, give_up=why))

    def _gather(self, arrival: Arrival, wait_s: float, gathering: Gathering) -> None:
        if wait_s > 0:
            gathering.add_later(wait_s, arrival)
        else:
            gathering.add(arrival)

    def _poll(self) -> None:
        self._hungry = True

    def _renew(self) -> None:
        if self._leases is None or self._gathering is None or not self._joined:
            return
        with self._trouble():
            self._leases.acknowledge()
            if not self._leases.renew():
                self._take_new_identity(self._leases, self._gathering)
            if self._returning:
                self.give_back(())

    def _sweep(self) -> None:
        if self._leases is None or not self._joined:
            return
        with self._trouble():
            swept = self._leases.sweep()
            if swept.nodes:
                self._hungry = True
                _log.warning("nodes.swept", nodes=swept.nodes, messages=swept.messages)

    def _join(self) -> None:
        with self._trouble():
            self._held_by_us().join()
            self._joined = True

    def _take_new_identity(self, leases: Leases, gathering: Gathering) -> None:
        """The lease was lost, so others may have what was not started: drop it, and go on as another node."""
        gathering.forget(leases.take_new_identity())
        self._hungry = True
        _log.warning("lease.lost", node=leases.node)

    def _held_by_us(self) -> Leases:
        if self._leases is None:
            raise AssertionError("a node that has not taken anything holds nothing")
        return self._leases

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._away_until = time.monotonic() + AWAY_AGAIN_S
        self._hungry = True
        _log.warning("store.away", error=f"Redis: {error}")
