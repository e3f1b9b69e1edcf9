"""The workload: which messages are sent, and what must become of each job, known before the first one is sent.

Jobs run in any order, so the work comes in phases that wait for each other, and within a phase no outcome depends
on the order: an account sends at most what it was opened with, and a transfer without funds asks for more than
there is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, Final
from uuid import UUID

from worker.errors import Outcome
from worker.messages import derive_id

KEYED_SHARE: Final = 0.3

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
class Workload:
    """The phases, and what must be found in the stores when they are over."""

    phases: Sequence[Phase]
    jobs: Mapping[UUID, Planned]
    balances: Mapping[UUID, int]
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


@dataclass
class Plan:
    """A workload in the making."""

    random: Random
    jobs: dict[UUID, Planned] = field(default_factory=dict)
    repeated: set[UUID] = field(default_factory=set)
    users: list[Planned] = field(default_factory=list)
    accounts: dict[str, list[UUID]] = field(default_factory=dict)
    balances: dict[UUID, int] = field(default_factory=dict)
    funds: dict[UUID, int] = field(default_factory=dict)

    def uuid(self) -> UUID:
        """A random id (UUIDv4), the same for the same seed."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def job(self, task: str, payload: Payload, code: str | None = None) -> Planned:
        """Plan a job; some go by an idempotency key, the others by their task id."""
        key = f"demo-{self.random.getrandbits(64):016x}" if self.random.random() < KEYED_SHARE else None
        planned = Planned(Message(task, payload, str(self.uuid()), key), code)
        self.jobs[planned.message.job_id] = planned
        return planned

    def repeat(self, message: Message) -> Message:
        """The same job again, by a task id of its own where a key says what is meant; it asks for the result."""
        self.repeated.add(message.job_id)
        return Message(message.task, message.payload, self._task_id(message), message.key, want_result=True)

    def conflict(self, message: Message, payload: Payload) -> Message:
        """Another payload under the id of a job."""
        return Message(message.task, payload, self._task_id(message), message.key)

    def _task_id(self, message: Message) -> str:
        return str(self.uuid()) if message.key else message.task_id

    def finish(self, phases: Iterable[Phase]) -> Workload:
        """The workload, with what follows from its messages counted."""
        phases = list(phases)
        sent = [message for phase in phases for message in phase.messages]
        repeats = sum(message.want_result for message in sent)
        conflicts = len(sent) - repeats - len(self.jobs)
        return Workload(phases, self.jobs, self.balances, repeats, conflicts)
