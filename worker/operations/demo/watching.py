"""Watches the worker at its work: counts in the stores, and tells when it died or makes no progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from worker.operations.demo.errors import DemoFailed, last_words
from worker.operations.demo.stores import Stores
from worker.operations.demo.workload import Workload
from worker.operations.programs import Running

LOOK_EVERY_S: Final = 0.05
LOOK_WITHIN_S: Final = 1.0
LOOKING_SHARE: Final = 0.1
"""Of the time, at most so much is spent on looking: to count many jobs takes a while, which others wait for."""
PATIENCE_S: Final = 30.0
RESULT_KEY: Final = "celery-task-meta-"


@dataclass(frozen=True)
class Look:
    """What has been done at one moment: distinct jobs ended, messages refused, repeats answered; what is left."""

    ended: int
    refused: int
    answered: int
    owed: int
    queued: int

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.owed or self.queued)


@dataclass
class Watch:
    """Looks at the stores every now and then, and shows `ended` to `show`.

    Raises `DemoFailed`, with the last words of the worker, when it has ended or when nothing has changed
    for `patience_s` seconds.
    """

    stores: Stores
    workload: Workload
    worker: Running
    log: Path
    show: Callable[[Look], None]
    patience_s: float = PATIENCE_S
    _last: Look | None = None
    _looked_at: float = field(default_factory=time.monotonic)
    _pause_s: float = LOOK_EVERY_S
    _changed_at: float = field(default_factory=time.monotonic)

    def until_ended(self, jobs: int) -> None:
        """Wait until so many jobs have ended."""
        while self._look().ended < jobs:
            time.sleep(self._pause_s)

    def until_quiet(self) -> None:
        """Wait until every message has had its effect and everything owed is delivered."""
        wanted = (len(self.workload.jobs), self.workload.conflicts, self.workload.repeats)
        while not ((look := self._look()).quiet and (look.ended, look.refused, look.answered) >= wanted):
            time.sleep(self._pause_s)

    def glance(self) -> None:
        """Look, unless that was a moment ago."""
        if time.monotonic() - self._looked_at > self._pause_s:
            self._look()

    def _look(self) -> Look:
        began = time.monotonic()
        look, now = look_at(self.stores, self.workload), time.monotonic()
        self._pause_s = min(max(LOOK_EVERY_S, (now - began) / LOOKING_SHARE), LOOK_WITHIN_S)
        if look != self._last:
            self._changed_at = now
        self._last, self._looked_at = look, now
        self.show(look)
        self._insist(look, now)
        return look

    def _insist(self, look: Look, now: float) -> None:
        if (code := self.worker.exit_code) is not None:
            raise self._failed(f"the worker ended by itself, with exit code {code}")
        if now - self._changed_at > self.patience_s:
            done = f"{look.ended} of {len(self.workload.jobs)} jobs ended, {look.queued} queued, {look.owed} owed"
            raise self._failed(f"no progress for {self.patience_s:.0f} s ({done})")

    def _failed(self, problem: str) -> DemoFailed:
        return DemoFailed(f"{problem}; the last lines of its log, {self.log}:\n{last_words(self.log)}")


def look_at(stores: Stores, workload: Workload) -> Look:
    """Count what there is now, without what beat has enqueued."""
    counts = stores.postgres.execute(
        """
        SELECT (SELECT count(*) FROM trivet.jobs
                WHERE ended_at IS NOT NULL AND (task NOT LIKE 'maintenance.%%' OR id = ANY(%s))) AS ended,
               (SELECT count(*) FROM trivet.job_conflicts) AS refused,
               (SELECT count(*) FROM trivet.outbox) AS owed
        """,
        (workload.maintenance,),
    ).fetchone()
    assert counts is not None  # noqa: S101 - a SELECT without FROM has one row
    answers = [RESULT_KEY + task_id for task_id in workload.answers]
    answered = stores.redis.exists(*answers) if answers else 0
    queued = sum(stores.redis.llen(queue) for queue in workload.queues)
    return Look(counts.ended, counts.refused, answered, counts.owed, queued)
