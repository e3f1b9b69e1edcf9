"""What a pool process does: run a batch, and go straight from its commit into delivery."""

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import SQLAlchemyError

from worker.crash_points import crash_point
from worker.delivery.node import Node
from worker.delivery.outbox import SHARDS, Lane, count_owed
from worker.delivery.turn import Turn, deliver
from worker.errors import Outcome, StoreUnavailable
from worker.execution import batch
from worker.execution.appending import append_again, has_lost
from worker.execution.attempt import Attempt, Ending
from worker.intake.sending import Sending
from worker.intake.task_signals import TaskSignals
from worker.messages import Message
from worker.settings import Settings
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.resources import Resources

LOOK_EVERY_S: Final = 5.0
"""How often a process looks whether Redis lost events, at most: an idle node is to cost little."""

LOST_AGAIN_S: Final = 0.5
"""How long to leave the document lane alone while somebody else appends lost events again."""

AWAY_AGAIN_S: Final = 0.5
"""How long to leave PostgreSQL alone when it is away."""

COUNT_EVERY_S: Final = 1.0
"""How often a process counts what is owed, at most, while there is much."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Report:
    """What a pool process tells its main process.

    `outcomes` are in the order of the messages; None says that nothing was counted: PostgreSQL is `away`, or our
    own code failed, which is logged. `codes` say why those that did not succeed did not. No more goes back of each:
    a report must fit into a pipe that nobody reads while the main process ends. `runtime_s` is how long the batch
    took, up to its commit.
    `busy` says that something is still to be delivered: another node holds its shards, or there is much. `owed`
    counts the outbox over all nodes, up to one more than is allowed; None when nobody looked.
    """

    outcomes: Sequence[Outcome] | None = None
    away: bool = False
    busy: bool = False
    owed: int | None = None
    codes: Sequence[str] = ()
    runtime_s: float = 0


class PoolProcess:
    """The open clients of this process, and what is done with them."""

    def __init__(self, given: Resources, node: Node, signals: TaskSignals) -> None:
        self._given = given
        self._node = node
        self._signals = signals
        self._sending = Sending(given, node)
        self._sending.start()
        self._looks_at = 0.0
        self._counts_at = 0.0

    def run(self, task: str, messages: Sequence[Message]) -> Report:
        """Run a batch and deliver what it owes."""
        self._signals.starting(messages)
        report = self._report(lambda: batch.run(task, messages, self._given), self._signals.ended)
        if report.outcomes is None:
            self._signals.put_off(messages)
        return report

    def park(self, message: Message, code: str, why: str) -> Report:
        """Give up a job: one that kills its process, or that cannot be read."""
        return self._report(lambda: batch.park(message, code, why, self._given), self._signals.given_up)

    def run_alone(self, task: str, message: Message) -> Ending | None:
        """Run one job and deliver what it owes; None, a little later, when PostgreSQL is away."""
        try:
            return self._run_alone(task, message)
        except SoftTimeLimitExceeded:
            # It passed in our own code; in the job's it is a failure like another. It comes but once.
            return self._run_alone(task, message)

    def _run_alone(self, task: str, message: Message) -> Ending | None:
        done = self._settle(lambda: batch.run(task, [message], self._given))
        if isinstance(done, Report):
            time.sleep(AWAY_AGAIN_S)  # its message comes again at once
            return None
        self._deliver(done.shards)
        return done.attempts[0].ended

    def _report(self, work: Callable[[], batch.Done], tell: Callable[[Sequence[Attempt]], None]) -> Report:
        began = time.monotonic()
        done = self._settle(work)
        if isinstance(done, Report):
            return done
        runtime_s = time.monotonic() - began
        turn = self._deliver(done.shards)
        tell(done.attempts)
        endings = [attempt.ended for attempt in done.attempts]
        outcomes, codes = [ending.outcome for ending in endings], list(map(code_of, endings))
        owed = self._count_owed() if self._is_much(turn) else None
        return Report(outcomes, busy=turn.unfinished, owed=owed, codes=codes, runtime_s=runtime_s)

    def _settle(self, work: Callable[[], batch.Done]) -> batch.Done | Report:
        try:
            return work()
        except StoreUnavailable as error:
            _log.warning("store.away", error=str(error))
            return Report(away=True)
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001 - logged in full
            # Not a death of this process: nothing is counted, and the batch runs again.
            _log.exception("batch.failed")
            return Report()

    def tend(self) -> Report:
        """Look after what a crash or an absent store left behind."""
        self._mend_stream()
        if self._node.nothing_owed():
            return Report(owed=0)
        turn = self._deliver(range(SHARDS))
        owed = self._count_owed() if self._is_much(turn) else 0
        return Report(busy=turn.unfinished, owed=owed if turn.taken else None)

    def close(self) -> None:
        """Send nothing more, and close the clients."""
        self._sending.close()
        self._given.close()

    def _deliver(self, shards: Collection[int]) -> Turn:
        self._node.mark(shards)
        try:
            turn = deliver(self._given, self._node)
            if turn.lost and not append_again(self._given):
                self._node.rest(Lane.DOCUMENTS, LOST_AGAIN_S)
        except Exception as error:  # noqa: BLE001 - the batch has committed, and must not look as if it had failed
            # Nothing is lost: what is owed stays in the outbox, and the next turn finds it.
            _log_unless_away("delivery.failed", error)
            return Turn()
        return turn

    def _mend_stream(self) -> None:
        """Notice that Redis lost events, though nothing new is published."""
        if time.monotonic() < self._looks_at:
            return
        self._looks_at = time.monotonic() + LOOK_EVERY_S
        try:
            if has_lost(self._given):
                append_again(self._given)
        except (StoreUnavailable, SQLAlchemyError) as error:
            _log_unless_away("appending.failed", error)

    def _is_much(self, turn: Turn) -> bool:
        """Whether the outbox may be growing: a store is away, or slower than the jobs are."""
        return turn.unfinished or bool(turn.away) or any(self._node.resting(lane) for lane in Lane)

    def _count_owed(self) -> int | None:
        if time.monotonic() < self._counts_at:
            return None
        self._counts_at = time.monotonic() + COUNT_EVERY_S
        try:
            with self._given.engine.begin() as connection:
                return count_owed(connection, self._given.settings.owed_max + 1)
        except SQLAlchemyError as error:
            _log_unless_away("counting.failed", error)
            return None


def code_of(ending: Ending) -> str:
    """Why a job did not succeed; empty for one that did."""
    # Interned, so that each code is pickled once, however many jobs have it.
    return "" if ending.outcome is Outcome.SUCCEEDED else sys.intern(str(ending.data.get("code", "")))


def _log_unless_away(event: str, error: Exception) -> None:
    if isinstance(error, StoreUnavailable):
        _log.warning("store.away", error=str(error))
    elif classify(error) is Trouble.AWAY:
        _log.warning("store.away", error=f"PostgreSQL: {error}")
    else:
        _log.error(event, exc_info=error)


# A pool calls functions by name: this is where they find the clients that were opened after fork.
_this: Final[list[PoolProcess]] = []


def open_process(settings: Settings, node: Node, tasks: Mapping[str, Any]) -> None:
    """Open the clients of this pool process; `tasks` are the app's, by name."""
    crash_point("before_open")
    _this.append(PoolProcess(Resources.open(settings), node, TaskSignals(tasks)))


def close_process() -> None:
    """Close them again."""
    while _this:
        _this.pop().close()


def run_batch(task: str, messages: Sequence[Message]) -> Report:
    """Run a batch in this pool process."""
    return _this[0].run(task, messages)


def run_alone(task: str, message: Message) -> Ending | None:
    """Run one job in this pool process."""
    return _this[0].run_alone(task, message)


def park_job(message: Message, code: str, why: str) -> Report:
    """Give up a job, in this pool process."""
    return _this[0].park(message, code, why)


def tend() -> Report:
    """Tend this node, in this pool process."""
    return _this[0].tend()
