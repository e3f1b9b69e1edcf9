"""Sending: a thread in one pool process of each node looks for jobs that are due, and sends them."""

import time
from threading import Event, Thread
from typing import Final

import structlog

from worker.delivery.node import Node
from worker.delivery.outbox import IS_OWED
from worker.errors import StoreUnavailable
from worker.execution.resending import IS_DUE, send_due
from worker.execution.sends import note_loss
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.resources import Resources
from worker.stores.watch import Watch

LOOK_EVERY_S: Final = 0.15
"""How often the process that has the duty asks PostgreSQL for jobs that are due, and whether anything is owed.

Each time costs a third of a millisecond of CPU; all that an idle node costs is to be a hundredth of a core.
"""

COUNT_EVERY_S: Final = 5.0
"""How often it asks Redis for its counter, though nothing is due: an idle node is to cost little."""

STAND_BY_S: Final = 1.0
"""How often the others look whether the duty is free, and how long a store that is away is left alone."""

_log = structlog.get_logger()


class Sending:
    """A thread that sends, from the start of its process to the end of it; a failure never ends it.

    It is in a pool process because PostgreSQL is open there, and a thread because bodies may run for minutes.
    """

    def __init__(self, given: Resources, node: Node) -> None:
        self._given = given
        self._node = node
        self._closing = Event()
        self._counts_at = 0.0
        self._watch = Watch(given.settings, f"SELECT ({IS_DUE}), ({IS_OWED})")
        self._thread = Thread(target=self._run, name="sending", daemon=True)

    def start(self) -> None:
        """Begin, once the process has forked."""
        self._thread.start()

    def close(self) -> None:
        """Send nothing more; what is on its way gets a second to finish."""
        self._closing.set()
        self._thread.join(1)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._closing.wait(pause_s):
            pause_s = self._look() if self._node.sending.mine() else STAND_BY_S
        self._watch.close()

    def _look(self) -> float:
        """Send what is due now; returns the seconds until the next look."""
        try:
            while self._is_due() and send_due(self._given) and not self._closing.is_set():
                self._node.sending.mine()
            self._count()
        except StoreUnavailable as error:
            _log.warning("store.away", error=str(error))
            return STAND_BY_S
        except Exception as error:  # noqa: BLE001 - logged in full; a thread that ended would send nothing more
            if classify(error) is Trouble.AWAY:
                _log.warning("store.away", error=f"PostgreSQL: {error}")
            else:
                _log.exception("sending.failed")
            return STAND_BY_S
        return LOOK_EVERY_S

    def _is_due(self) -> bool:
        due, owed = self._watch.ask()
        if not owed:
            self._node.see_nothing_owed()
        return due

    def _count(self) -> None:
        if time.monotonic() >= self._counts_at:
            self._counts_at = time.monotonic() + COUNT_EVERY_S
            note_loss(self._given)
