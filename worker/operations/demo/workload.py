"""The workload: which messages are sent, and what must become of each job, known before the first one is sent.

Jobs run in any order, so the work comes in phases that wait for each other, and within a phase no outcome depends
on the order: an account sends at most what it was opened with, a transfer without funds asks for more than there
is, and what is removed is removed in a later phase than it was made and changed in.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from worker.errors import Outcome
from worker.messages import derive_id

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a plain Celery client sends it."""

    task: str
    payload: Payload
    task_id: str
    key: str | None = None
    want_result: bool = False

    @property
    def queue(self) -> str:
        """Each job goes to the queue of its first word."""
        return self.task.partition(".")[0]

    @property
    def headers(self) -> dict[str, Any]:
        """The headers that the producer sets."""
        key = {"idempotency_key": self.key} if self.key else {}
        return {**key, "want_result": True} if self.want_result else key

    @property
    def job_id(self) -> UUID:
        """The id under which it takes effect once."""
        return derive_id(self.task, self.key) if self.key else UUID(self.task_id)


@dataclass(frozen=True, slots=True)
class Planned:
    """A job: the first message of it, and what must become of it; `code` says why it is rejected."""

    message: Message
    code: str | None = None

    @property
    def outcome(self) -> Outcome:
        """Its outcome: every planned job ends."""
        return Outcome.REJECTED if self.code else Outcome.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Phase:
    """Messages that may run in any order; the next phase waits until they have ended."""

    name: str
    messages: Sequence[Message]


@dataclass(frozen=True)
class Left:
    """What must be left of the workload when it is over.

    `names` are those of the users who stay, `gone` the others; `sessions` have their users, `notifications` say
    whether they were read. `posts` are those that came by a job of their own.
    """

    balances: Mapping[UUID, int]
    held: Mapping[UUID, int]
    closed: AbstractSet[UUID]
    names: Mapping[UUID, str]
    gone: AbstractSet[UUID]
    posts: AbstractSet[UUID]
    bodies: Mapping[str, Payload]
    sessions: Mapping[str, UUID]
    notifications: Mapping[UUID, bool]


@dataclass(frozen=True)
class Workload:
    """The phases, and what must be found in the stores when they are over."""

    phases: Sequence[Phase]
    jobs: Mapping[UUID, Planned]
    left: Left
    repeats: int
    conflicts: int

    @cached_property
    def answers(self) -> list[str]:
        """The task ids whose results were asked for: one for each repeat."""
        return [message.task_id for message in self.messages if message.want_result]

    @cached_property
    def messages(self) -> list[Message]:
        """All messages, in the order of sending."""
        return [message for phase in self.phases for message in phase.messages]

    @cached_property
    def maintenance(self) -> list[UUID]:
        """The jobs of tasks that beat enqueues as well."""
        return [key for key, job in self.jobs.items() if job.message.queue == "maintenance"]

    @cached_property
    def queues(self) -> list[str]:
        """The queues that they go to."""
        return sorted({message.queue for message in self.messages})
