"""The parts of Celery's pool and clock that gathering uses."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError

from worker.intake.pool_process import Report


class Pool(Protocol):
    """The part of Celery's pool that is used."""

    num_processes: int

    def apply_async(self, target: Callable[..., Report], args: Sequence[Any] = (), **options: Any) -> Any:
        """Run `target` in a pool process."""

    def terminate_job(self, pid: int) -> None:
        """Kill a pool process."""


class Timer(Protocol):
    """The part of Celery's timer that is used."""

    def call_after(self, secs: float, fun: Callable[..., Any], args: Sequence[Any] = ()) -> Any:
        """Call once, after so many seconds."""

    def call_repeatedly(self, secs: float, fun: Callable[..., Any], args: Sequence[Any] = ()) -> Any:
        """Call again and again."""


def is_death(failure: Any) -> bool:
    """Whether a pool process ended, or was ended for its time limit; an error that it raised is none."""
    return issubclass(failure.type, WorkerLostError | TimeLimitExceeded | Terminated)


def dropped(result: Any) -> bool:
    """Whether the pool knows nothing any more of what it was given, and has not answered.

    When Celery loses its connection it flushes the pool: what no process had accepted yet is discarded, and no
    callback follows.
    """
    return result._job not in result._cache and not result.ready()  # noqa: SLF001 - billiard offers no other way
