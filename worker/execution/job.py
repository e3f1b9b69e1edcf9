"""`@job`: a plain function, and what the runtime must know about it, as data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from inspect import get_annotations
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from worker.errors import Rejected
from worker.execution.command import Command, Result
from worker.execution.enqueued import Enqueued
from worker.execution.enqueueing import Options, enqueue_all, enqueue_one, enqueue_with
from worker.execution.schedules import Schedule
from worker.execution.unit_of_work import UnitOfWork
from worker.execution.upcasting import Upcaster, refuse_gaps
from worker.stores.limits import RateLimit

C = TypeVar("C", bound=Command)
R = TypeVar("R", bound=Result)

SetBody = Callable[[Sequence[tuple[Any, UnitOfWork]]], Sequence[Result | Rejected]]
"""A body over all commands of a batch, each with its unit of work: the answers in the same order."""

Lock = tuple[type[Any], UUID | str]
"""A row by its mapped class and primary key."""


class Through(NamedTuple):
    """A row that another one refers to: `Through(Hold, command.hold, "source_id", Account)`.

    The column is read before anything is locked, so it must be one that never changes.
    """

    row: type[Any]
    key: UUID | str
    column: str
    target: type[Any]


def no_locks(_command: Any) -> Iterable[Lock | Through]:
    """The job touches no row that others do."""
    return ()


@dataclass(frozen=True)
class Job(Generic[C, R]):
    """One task: call it with a command and a unit of work, as the plain function that it is.

    `subject` is a template over `job_id` and the fields of the command and the result; without one the job is its
    own subject.
    `locks` names the rows that a command touches. `refuses` maps names of database constraints to rejections.
    `private` names fields of the result that are in no event, like `user.email`; a job that does not `broadcast`
    has nothing of its result in an event. `set_body`, if there is one, stands for `body`: see `batch`.
    Over its `limit` a job is rejected before its body runs. `schedules` say when beat enqueues it by itself.
    The command reads payloads of `version`; `upcast` leads to it from older ones.
    `publishes` maps templates of channels to what the body sends there with `work.publish`, for the documentation.
    """

    name: str
    body: Callable[[C, UnitOfWork], R]
    command: type[C]
    subject: str | None = None
    locks: Callable[[C], Iterable[Lock | Through]] = no_locks
    refuses: Mapping[str, Callable[[], Rejected]] = field(default_factory=dict)
    private: Sequence[str] = ()
    broadcast: bool = True
    failures_max: int = 5
    limit: RateLimit | None = None
    schedules: Sequence[Schedule] = ()
    set_body: SetBody | None = None
    version: int = 1
    upcast: Mapping[int, Upcaster] = field(default_factory=dict)
    publishes: Mapping[str, type[BaseModel]] = field(default_factory=dict)

    def batch(self, set_body: SetBody) -> SetBody:
        """Declare a body over all commands of a batch, for a task that is hot: `@transfer.batch`.

        It answers as the plain body would if it ran them one by one, in order, and returns a rejection instead of
        raising it. What it changes in declared rows it writes by itself (`update_many`): nothing is flushed for it.
        If it raises, the batch starts again with the plain body.
        """
        object.__setattr__(self, "set_body", set_body)  # frozen for everybody else: this is part of declaring it
        return set_body

    def __call__(self, command: C, work: UnitOfWork) -> R:
        """Run the body."""
        return self.body(command, work)

    @cached_property
    def many(self) -> TypeAdapter[list[C]]:
        """Reads the commands of a whole batch at once."""
        return TypeAdapter(list[self.command])  # type: ignore[name-defined]  # the class is a value here

    @cached_property
    def answer(self) -> type[R]:
        """The class of its results, as the body's annotation says."""
        answer: type[R] = get_annotations(self.body, eval_str=True)["return"]
        return answer

    def enqueue(
        self,
        command: C | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        want_result: bool = False,
        deadline: datetime | None = None,
        eta: datetime | None = None,
        traceparent: str | None = None,
        **fields: Any,
    ) -> Enqueued[R]:
        """Send this job to its queue: a command, or its fields by name. `Options` says what the others mean.

        Raises `InvalidPayload` or `PayloadTooLarge`, as a worker would, before anything is sent; `QueueFull`; and
        `NotEnqueued` when Redis is away: then the job may have been sent, and to send it again is safe.
        """
        options = Options(
            idempotency_key=idempotency_key,
            want_result=want_result,
            deadline=deadline,
            eta=eta,
            traceparent=traceparent,
        )
        return enqueue_one(self, command, fields, options)

    def enqueue_in(
        self,
        transaction: Session | Connection,
        command: C | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        want_result: bool = False,
        deadline: datetime | None = None,
        eta: datetime | None = None,
        traceparent: str | None = None,
        **fields: Any,
    ) -> Enqueued[R]:
        """Enqueue this job in the caller's own PostgreSQL transaction: if and only if that commits.

        What is enqueued, and what is wrong with it, is told as by `enqueue`; Redis may be away. Raises
        `IdempotencyConflict` when the job's id is taken by another payload; the transaction can go on.
        """
        options = Options(
            idempotency_key=idempotency_key,
            want_result=want_result,
            deadline=deadline,
            eta=eta,
            traceparent=traceparent,
        )
        return enqueue_with(transaction, self, command, fields, options)

    def enqueue_many(
        self, asked: Iterable[C | Mapping[str, Any] | tuple[C | Mapping[str, Any], Options] | Enqueued[R]]
    ) -> list[Enqueued[R]]:
        """Send many of this job: commands or their fields, each alone or with `Options`; or what was sent before.

        Raises as `enqueue` does. Nothing is sent when one is wrong, and its place in the list begins the `field`.
        They go in steps of up to 500, each all or none; a `NotEnqueued` in between says how far it came.
        """
        return enqueue_all(self, asked)

    def subject_of(self, command: C, job_id: UUID, result: Mapping[str, Any]) -> str:
        """The subject of the job's events when it succeeds with this result."""
        return (self.subject or "jobs/{job_id}").format_map(_Fields(command, job_id, result))

    def broadcast_of(self, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the completion event carries of a result."""
        if not self.broadcast:
            return None
        for path in self.private:
            result = _without(result, path.split("."))
        return result


@dataclass(slots=True)
class _Fields:
    """What a template of a subject may name; only that is looked up."""

    command: Command
    job_id: UUID
    result: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        if name == "job_id":
            return self.job_id
        # A field that may be left out does not hide what the result says in its place.
        value = self.command.__dict__.get(name)
        return self.result[name] if value is None else value


def _without(data: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    first, *rest = path
    if first not in data:
        return data
    kept = {key: value for key, value in data.items() if key != first}
    return kept | {first: _without(data[first], rest)} if rest else kept


JOBS: Final[dict[str, Job[Any, Any]]] = {}
"""Every job that has been declared, by its task's name."""


def job(  # noqa: PLR0913 - each is one fact about the job
    name: str,
    *,
    subject: str | None = None,
    locks: Callable[[Any], Iterable[Lock | Through]] = no_locks,
    refuses: Mapping[str, Callable[[], Rejected]] | None = None,
    private: Sequence[str] = (),
    broadcast: bool = True,
    limit: RateLimit | None = None,
    schedule: Schedule | Sequence[Schedule] = (),
    version: int = 1,
    upcast: Mapping[int, Upcaster] | None = None,
    publishes: Mapping[str, type[BaseModel]] | None = None,
) -> Callable[[Callable[[C, UnitOfWork], R]], Job[C, R]]:
    """Declare a job: `name` is its task, `<queue>.<verb>`; see `Job` for the rest. `schedule` is one, or several.

    The command's class is read from the annotation of the body's first parameter.
    """

    def declare(body: Callable[[C, UnitOfWork], R]) -> Job[C, R]:
        command = next(iter(get_annotations(body, eval_str=True).values()))
        declared = Job(
            name,
            body,
            command,
            subject,
            locks,
            refuses or {},
            private,
            broadcast,
            limit=limit,
            schedules=(schedule,) if isinstance(schedule, Schedule) else tuple(schedule),
            version=version,
            upcast=upcast or {},
            publishes=publishes or {},
        )
        refuse_gaps(declared)
        if JOBS.setdefault(name, declared) is not declared:
            raise ValueError(f"two jobs are named {name}")
        command.task, command.payload_version = name, version
        return declared

    return declare
