"""Tending: a pool process looks now and then after what was left behind, and tells when too much is owed."""

from collections.abc import Callable
from typing import Any, Final

import structlog

from worker.intake.engine import Pool, Timer, dropped
from worker.intake.pool_process import Report, tend
from worker.settings import Settings

TEND_EVERY_S: Final = 2.0
BUSY_AGAIN_S: Final = 0.02

_log = structlog.get_logger()


class Tending:
    """The tending of one node: at most one pool process does it at a time; `after` is called when it is done."""

    def __init__(self, pool: Pool, timer: Timer, settings: Settings, after: Callable[[], None]) -> None:
        self._pool = pool
        self._timer = timer
        self._settings = settings
        self._after = after
        self._result: Any = None
        self._running = False
        self._closing = False
        self.held_back = False
        """Whether so much is owed that no more batches are to start."""

    def tend(self) -> None:
        """Let a pool process look after what was left behind, unless one does so already."""
        if self._running or self._closing:
            return
        self._running = True
        self._result = self._pool.apply_async(
            tend, callback=self._tended, error_callback=self._failed, timeout=self._settings.batch_limit_s
        )

    def heed(self, report: Report) -> None:
        """Take in what a pool process reports of what is owed."""
        if report.busy:
            self._timer.call_after(BUSY_AGAIN_S, self.tend)
        if report.owed is None:
            return
        held_back = report.owed > self._settings.owed_max
        if held_back != self.held_back:
            _log.warning("intake.paused" if held_back else "intake.resumed", owed=report.owed)
        self.held_back = held_back

    def recollect(self) -> None:
        """Hear that the pool may have dropped it without a word."""
        if self._running and dropped(self._result):
            self._running = False

    def close(self) -> None:
        """Tend no more."""
        self._closing = True

    def _tended(self, report: Report) -> None:
        self._running = False
        self.heed(report)
        self._after()

    def _failed(self, failure: object) -> None:
        self._running = False
        _log.error("tending.failed", error=str(failure))
