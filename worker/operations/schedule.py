"""`trivet beat`: RedBeat's scheduler, whose ticks are jobs in PostgreSQL.

RedBeat's lock makes one beat the leader, and the others stand by. What has been ticked is kept in PostgreSQL alone
(docs/decisions/0014-ticks-in-postgresql.md): nothing but the lock is in Redis, so nothing else can be lost there.
"""

import signal
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog
from celery.beat import Service
from celery.signals import beat_init
from redbeat.schedulers import RedBeatScheduler, acquire_distributed_beat_lock, get_redis
from redis.backoff import NoBackoff
from redis.exceptions import LockNotOwnedError, RedisError
from redis.retry import Retry

from worker.errors import StoreUnavailable, WrongSettings
from worker.execution.job import JOBS
from worker.execution.ticking import take_due
from worker.execution.ticks import read_entries
from worker.operations.health import AWAY
from worker.operations.trouble import postgres_trouble
from worker.stores.postgres import open_engine
from worker.stores.redis_errors import redis_trouble

if TYPE_CHECKING:
    from worker.app import App  # reads the environment when it is imported

LOCK: Final = "trivet:beat"
"""The key of the leader's lock in Redis, below the installation's `global_keyprefix`."""

STANDS_BY: Final = "beat.stands_by"
LEADS: Final = "beat.leads"
DEPOSED: Final = "beat.deposed"

FIRST_PAUSE_S: Final = 0.25

_log = structlog.get_logger()

# It would wait for the lock without an end, and Celery swallows what goes wrong in it: `tick` tries for the lock.
beat_init.disconnect(acquire_distributed_beat_lock)


class Scheduler(RedBeatScheduler):  # type: ignore[misc]  # RedBeat has no types
    """Takes the ticks that the jobs declare, while it holds the lock.

    `heartbeat` is a file that it touches whenever it has done what it is for: taken what was due, or stood by.
    """

    lock: Any = None

    def __init__(self, app: "App", heartbeat: Path | None = None, **given: Any) -> None:
        prefix = app.conf.broker_transport_options.get("global_keyprefix", "")
        self._heartbeat = heartbeat
        self._pause_s = FIRST_PAUSE_S
        self._stands_by = False
        super().__init__(app, lock_key=f"{prefix}{LOCK}", **given)

    def setup_schedule(self) -> None:
        """Read the declarations. RedBeat would keep entries in Redis: ours are nowhere but in the code."""
        settings = self.app.settings
        get_redis(self.app).set_retry(Retry(NoBackoff(), 0))  # `tick` tries again; a silent Redis delays no end
        self._entries = read_entries(JOBS.values())
        self._retention = timedelta(days=settings.retention_d)
        self._engine = open_engine(settings, application_name="trivet-beat")

    def tick(self, **_: Any) -> float:
        """Take what is due, if this beat leads; returns for how many seconds to sleep.

        A store that is away is waited for. Raises `LockNotOwnedError` when another beat has taken over,
        `WrongSettings` for a heartbeat that cannot be written.
        """
        next_s = float("inf")
        try:
            with redis_trouble():
                leads = self._lead()
            if leads:
                with postgres_trouble():
                    next_s = take_due(self._engine, self._entries.values(), self._retention)
        except StoreUnavailable as error:
            self._pause_s = min(self._pause_s * 2, self.max_interval)
            _log.warning(AWAY, error=str(error), next_try_s=self._pause_s)
            return float(self._pause_s)
        self._pause_s = FIRST_PAUSE_S
        self._beat()
        return float(min(next_s, self.max_interval))

    def close(self) -> None:
        """Give the lock to whoever stands by; one that cannot be reached runs out by itself."""
        with suppress(RedisError):
            super().close()
        self.lock = None
        self._engine.dispose()

    def _lead(self) -> bool:
        """Hold the lock on, or try for it; whether this beat leads."""
        if self.lock is not None:
            self.lock.extend(int(self.lock_timeout), replace_ttl=True)
            return True
        if not self._stands_by:
            self._stands_by = True
            _log.info(STANDS_BY, lock=self.lock_key)
        lock = get_redis(self.app).lock(self.lock_key, timeout=self.lock_timeout)
        if lock.acquire(blocking=False):
            self.lock, self._stands_by = lock, False
            _log.info(LEADS, entries=len(self._entries))
        return self.lock is not None

    def _beat(self) -> None:
        if self._heartbeat is None:
            return
        try:
            self._heartbeat.touch()
        except OSError as error:
            raise WrongSettings(
                f"beat cannot touch {self._heartbeat} ({error.strerror}): give another --heartbeat"
            ) from error


def run_beat(app: "App", heartbeat: Path | None = None) -> None:
    """Lead, or stand by until the leader has gone, for as long as no signal asks for the end; touch `heartbeat`.

    A leader that has been deposed, because it was silent for too long or Redis lost its data, stands by again.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    while True:
        try:
            Service(app, scheduler_cls=partial(Scheduler, heartbeat=heartbeat)).start()
        except LockNotOwnedError:
            _log.warning(DEPOSED)
        else:
            return


def _end(*_: object) -> NoReturn:
    # Also in the middle of a transaction: it rolls back, or the tick has been taken.
    raise SystemExit(0)
