"""What the runtime keeps of jobs that have ended: counted for reports, and forgotten after the retention."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker.settings import Settings


class Tally(NamedTuple):
    """How many jobs of a task came to this outcome."""

    task: str
    outcome: str
    jobs: int


class Past:
    """The past of this database, as one transaction sees it; `now` is that transaction's time."""

    def __init__(self, connection: Connection, settings: Settings, now: datetime) -> None:
        self._connection = connection
        self._settings = settings
        self._now = now

    @property
    def since(self) -> datetime:
        """What ended before this moment may be forgotten: the retention has passed.

        It is never later than what is still owed: a late delivery finds what it must be compared with.
        """
        kept = self._now - timedelta(days=self._settings.retention_d)
        oldest: datetime | None = self._connection.exec_driver_sql(
            "SELECT min(owed_since) FROM trivet.outbox WHERE parked_at IS NULL"
        ).scalar_one()
        return kept if oldest is None else min(kept, oldest)

    @property
    def settled_version(self) -> int:
        """A tombstone up to this version was written before `since`, and no older write can come any more.

        An effect that is parked counts as owed: an operator may still have it delivered.
        """
        version: int = self._connection.exec_driver_sql(
            """
            SELECT least(
                (SELECT coalesce(max(sequence), 0)
                 FROM (SELECT sequence FROM trivet.jobs WHERE ended_at < %s AND sequence IS NOT NULL
                       ORDER BY ended_at DESC LIMIT 100) AS newest),
                (SELECT min(id) - 1 FROM trivet.outbox WHERE documents IS NOT NULL))
            """,
            (self.since,),
        ).scalar_one()
        return version

    def forget_jobs(self, limit: int) -> int:
        """Remove jobs that ended before `since`, the oldest first, and at most so many; returns how many.

        Not those that still owe something or are parked, unless they were dropped; nor the `TRIVET_EVENTS_MAXLEN`
        that ended last, from which events that Redis loses are made again. Their ids may be used anew.
        """
        removed = self._connection.exec_driver_sql(
            """
            DELETE FROM trivet.jobs WHERE id = ANY(ARRAY(
                SELECT job.id
                FROM trivet.jobs AS job,
                     (SELECT ended_at FROM trivet.jobs WHERE ended_at IS NOT NULL
                      ORDER BY ended_at DESC OFFSET %(newest)s - 1 LIMIT 1) AS oldest_needed
                WHERE job.ended_at < least(%(since)s, oldest_needed.ended_at)
                  AND (job.state <> 'parked' OR job.dropped_at < %(since)s)
                  AND NOT EXISTS (SELECT FROM trivet.outbox WHERE outbox.job_id = job.id)
                ORDER BY job.ended_at LIMIT %(limit)s FOR UPDATE OF job SKIP LOCKED))
            """,
            {"since": self.since, "newest": self._settings.events_maxlen, "limit": limit},
        )
        return removed.rowcount

    def forget_conflicts(self, limit: int) -> int:
        """Remove what is known of messages that were refused before `since` for another one's job id."""
        removed = self._connection.exec_driver_sql(
            "DELETE FROM trivet.job_conflicts WHERE (job_id, digest) IN"
            " (SELECT job_id, digest FROM trivet.job_conflicts WHERE seen_at < %s LIMIT %s FOR UPDATE SKIP LOCKED)",
            (self.since, limit),
        )
        return removed.rowcount

    def tally(self, since: datetime, until: datetime) -> list[Tally]:
        """The jobs that ended from `since` on and before `until`, by task and outcome.

        Tasks that nobody knows are one: their names come from whoever can write to a queue.
        """
        counted = self._connection.exec_driver_sql(
            "SELECT CASE WHEN state = 'parked' AND data ->> 'code' = 'unknown_task' THEN 'unknown' ELSE task END"
            " AS known, state, count(*) FROM trivet.jobs WHERE ended_at >= %s AND ended_at < %s"
            " GROUP BY known, state ORDER BY known, state",
            (since, until),
        )
        return [Tally(*row) for row in counted]

    def owed(self) -> int:
        """How many effects of ended jobs are still on their way."""
        return self._count("trivet.outbox WHERE parked_at IS NULL")

    def parked(self) -> int:
        """How many jobs and effects wait for an operator."""
        jobs = self._count("trivet.jobs WHERE state = 'parked' AND dropped_at IS NULL")
        return jobs + self._count("trivet.outbox WHERE parked_at IS NOT NULL")

    def _count(self, rows: str) -> int:
        count: int = self._connection.exec_driver_sql(f"SELECT count(*) FROM {rows}").scalar_one()  # noqa: S608 - ours
        return count
