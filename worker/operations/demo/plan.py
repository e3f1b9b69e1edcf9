"""A workload in the making: what has been planned so far, and what there will be to do something with."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar
from uuid import UUID

from worker.operations.demo.workload import Left, Message, Payload, Phase, Planned, Workload

KEYED_SHARE: Final = 0.3

T = TypeVar("T")


@dataclass
class Plan:
    """What the kinds of jobs plan with. Lists of what is done once lose what it has been done to."""

    random: Random
    jobs: dict[UUID, Planned] = field(default_factory=dict)
    repeated: set[UUID] = field(default_factory=set)
    # users
    users: list[Planned] = field(default_factory=list)
    leavers: list[UUID] = field(default_factory=list)
    names: dict[UUID, str] = field(default_factory=dict)
    unnamed: list[UUID] = field(default_factory=list)
    gone: set[UUID] = field(default_factory=set)
    # posts
    authors: dict[UUID, UUID] = field(default_factory=dict)
    unpublished: list[UUID] = field(default_factory=list)
    unchanged: list[UUID] = field(default_factory=list)
    # accounts
    accounts: dict[str, list[UUID]] = field(default_factory=dict)
    holders: dict[UUID, UUID] = field(default_factory=dict)
    balances: dict[UUID, int] = field(default_factory=dict)
    funds: dict[UUID, int] = field(default_factory=dict)
    empty: list[UUID] = field(default_factory=list)
    closed: set[UUID] = field(default_factory=set)
    held: Counter[UUID] = field(default_factory=Counter)
    holds: dict[UUID, tuple[UUID, UUID, int]] = field(default_factory=dict)
    resolved: list[UUID] = field(default_factory=list)
    # documents, sessions and notifications
    bodies: dict[str, Payload] = field(default_factory=dict)
    documents: int = 0
    sessions: dict[str, UUID] = field(default_factory=dict)
    revoked: list[str] = field(default_factory=list)
    unread: dict[UUID, UUID] = field(default_factory=dict)
    read: dict[UUID, UUID] = field(default_factory=dict)

    def uuid(self) -> UUID:
        """A random id (UUIDv4), the same for the same seed."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def take(self, of: list[T]) -> T:
        """One of these, which is none of them any more."""
        place = self.random.randrange(len(of))
        of[place], of[-1] = of[-1], of[place]
        return of.pop()

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
        return Workload(phases, self.jobs, self._left(), repeats, conflicts)

    def _left(self) -> Left:
        told = [*((key, user, False) for key, user in self.unread.items())]
        told += [(key, user, True) for key, user in self.read.items()]
        return Left(
            balances=self.balances,
            held=self.held,
            closed=self.closed,
            names={key: name for key, name in self.names.items() if key not in self.gone},
            gone=self.gone,
            posts={key for key, author in self.authors.items() if author not in self.gone},
            bodies=self.bodies,
            sessions={token: user for token, user in self.sessions.items() if user not in self.gone},
            notifications={key: read for key, user, read in told if user not in self.gone},
        )
