"""`@job`: a plain function, and what the runtime must know about it, as data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import get_annotations
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from worker.errors import Rejected
from worker.execution.command import Command, Result
from worker.execution.unit_of_work import UnitOfWork

C = TypeVar("C", bound=Command)
R = TypeVar("R", bound=Result)

Lock = tuple[type[Any], UUID]
"""A row by its mapped class and primary key."""


def no_locks(_command: Any) -> Iterable[Lock]:
    """The job touches no row that others do."""
    return ()


@dataclass(frozen=True)
class Job(Generic[C, R]):
    """One task: call it with a command and a unit of work, as the plain function that it is.

    `subject` is a template over the command's fields and `job_id`; without one the job is its own subject.
    `locks` names the rows that a command touches. `refuses` maps names of database constraints to rejections.
    `private` names fields of the result that are in no event, like `user.email`; a job that does not `broadcast`
    has nothing of its result in an event.
    """

    name: str
    body: Callable[[C, UnitOfWork], R]
    command: type[C]
    subject: str | None = None
    locks: Callable[[C], Iterable[Lock]] = no_locks
    refuses: Mapping[str, Callable[[], Rejected]] = field(default_factory=dict)
    private: Sequence[str] = ()
    broadcast: bool = True
    failures_max: int = 5

    def __call__(self, command: C, work: UnitOfWork) -> R:
        """Run the body."""
        return self.body(command, work)

    @cached_property
    def many(self) -> TypeAdapter[list[C]]:
        """Reads the commands of a whole batch at once."""
        return TypeAdapter(list[self.command])  # type: ignore[name-defined]  # the class is a value here

    def subject_of(self, command: C, job_id: UUID) -> str:
        """The subject of the job's events when it succeeds."""
        template = self.subject or "jobs/{job_id}"
        return template.format_map({**command.__dict__, "job_id": job_id})

    def broadcast_of(self, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the completion event carries of a result."""
        if not self.broadcast:
            return None
        for path in self.private:
            result = _without(result, path.split("."))
        return result


def _without(data: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    first, *rest = path
    if first not in data:
        return data
    kept = {key: value for key, value in data.items() if key != first}
    return kept | {first: _without(data[first], rest)} if rest else kept


JOBS: Final[dict[str, Job[Any, Any]]] = {}
"""Every job that has been declared, by its task's name."""


def job(
    name: str,
    *,
    subject: str | None = None,
    locks: Callable[[Any], Iterable[Lock]] = no_locks,
    refuses: Mapping[str, Callable[[], Rejected]] | None = None,
    private: Sequence[str] = (),
    broadcast: bool = True,
) -> Callable[[Callable[[C, UnitOfWork], R]], Job[C, R]]:
    """Declare a job: `name` is its task, `<queue>.<verb>`; see `Job` for the rest.

    The command's class is read from the annotation of the body's first parameter.
    """

    def declare(body: Callable[[C, UnitOfWork], R]) -> Job[C, R]:
        command = next(iter(get_annotations(body, eval_str=True).values()))
        declared = Job(name, body, command, subject, locks, refuses or {}, private, broadcast)
        if JOBS.setdefault(name, declared) is not declared:
            raise ValueError(f"two jobs are named {name}")
        command.task = name
        return declared

    return declare
