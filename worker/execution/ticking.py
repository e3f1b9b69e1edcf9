"""One look at the schedule: take every tick that is due, and say when the next one is."""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Engine

from worker.crash_points import crash_point
from worker.execution.ticks import Entry, read_settled, settle
from worker.stores.postgres_errors import Trouble, classify

FAILED: Final = "tick.failed"
FAILED_AGAIN_S: Final = 5.0

_log = structlog.get_logger()


def take_due(engine: Engine, entries: Iterable[Entry], retention: timedelta) -> float:
    """Take the ticks that are due, each entry in a transaction of its own; returns the seconds to the next tick.

    All is judged by PostgreSQL's clock. An entry that cannot be taken, for whatever reason, is tried again in 5 s
    and harms no other. Raises SQLAlchemy's error when PostgreSQL is away: what has not been taken is still due.
    """
    with engine.connect() as connection:
        now, known = read_settled(connection)
    looked_at = time.monotonic()
    wait_s = float("inf")
    for entry in entries:
        seen = known.get(entry.name)
        settled_to = seen.settled_to if seen else None
        if settled_to is None or entry.schedule.due(settled_to, now).settled_to > settled_to:
            settled_to = _settle_alone(engine, entry, retention)
        next_s = (entry.schedule.when.after(settled_to) - now).total_seconds() if settled_to else FAILED_AGAIN_S
        wait_s = min(wait_s, next_s)
    return max(wait_s - (time.monotonic() - looked_at), 0.0)


def _settle_alone(engine: Engine, entry: Entry, retention: timedelta) -> datetime | None:
    """Up to when the entry is settled now, or None when it could not be."""
    try:
        with engine.begin() as connection:
            settled_to = settle(connection, entry, retention)
    except Exception as error:
        if classify(error) is not Trouble.OTHER:
            raise
        # Also what is no error of the database: a payload that was valid at the start may not be any more.
        _log.exception(FAILED, entry=entry.name)
        return None
    crash_point("after_tick_commit")
    return settled_to
