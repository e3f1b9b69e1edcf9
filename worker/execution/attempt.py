"""One try at one job, on its way through the steps of a batch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from worker.delivery.effects import Effects
from worker.errors import Outcome, Rejected
from worker.execution.command import Command
from worker.messages import Message, printable

TOLD_MAX: Final = 1_000
"""Characters of what is told of a rejection. A key of a payload may be far longer, and be the field to name."""
_ADDRESS: Final = re.compile(r"[^\s@.]*@\S+")
"""An email address for a key, or what looks like one: there is none in any event."""


class Ending(NamedTuple):
    """What this try came to.

    `data` is public: a result, or `{code, message, …}`. `error` is for operators. `due_in_s` is set for a job
    that will be tried again; `failed` says that its own code failed, which counts towards its limit.
    """

    outcome: Outcome
    data: Mapping[str, Any]
    error: str | None = None
    due_in_s: float | None = None
    failed: bool = False

    @classmethod
    def rejected(cls, rejection: Rejected) -> "Ending":
        """Asked for something that cannot be."""
        return cls(Outcome.REJECTED, {name: _told(name, value) for name, value in rejection.data.items()})

    @classmethod
    def parked(cls, code: str, message: str, error: str | None = None, *, failed: bool = False) -> "Ending":
        """Given up."""
        return cls(Outcome.PARKED, {"code": code, "message": printable(message)}, error or message, failed=failed)


def _told(name: str, value: object) -> object:
    """What an event, a result and the ledger may say: a field is named by the producer, who may name anything."""
    if not isinstance(value, str):
        return value
    text = printable(value if len(value) <= TOLD_MAX else f"{value[:TOLD_MAX]}…")
    return _ADDRESS.sub("<address>", text) if name == "field" else text


def after_replays(replays: int) -> str:
    """What keeps apart the event of a job that was replayed so often; nothing, for one that never was."""
    return str(replays) if replays else ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knew about the job before this try."""

    id: UUID
    task: str
    task_id: str
    digest: bytes
    state: Outcome
    data: Mapping[str, Any]
    attempts: int
    failures: int
    replays: int
    deadline: datetime
    headers: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Attempt:
    """A message, what could be read of it, and what became of it.

    `repeats` marks a message whose job has ended before, or ends earlier in this batch: it reports that ending
    and changes nothing. `waiting` are the task ids under which somebody waits for the result. `locks` are the rows
    that its command declares, by class and id. `failure` is why there is no command, if our own code is to blame.
    `unsound` marks a message that is refused for itself, whatever it asks for: its headers, its version, or that it
    was revoked. `refused` marks one that was so, or came too late, beside a job that another message brought: that
    job stands, and is still to be run.
    """

    message: Message
    job_id: UUID
    digest: bytes
    command: Command | None = None
    ending: Ending | None = None
    known: Known | None = None
    repeats: bool = False
    conflicts: bool = False
    unsound: bool = False
    refused: bool = False
    effects: Effects = field(default_factory=Effects)
    waiting: set[str] = field(default_factory=set)
    locks: Sequence[tuple[type[Any], UUID | str]] = ()
    failure: Exception | None = None
    subject: str | None = None
    """That of its completion event, once it has ended."""

    @property
    def runnable(self) -> bool:
        """Whether its body is still to be run."""
        return self.ending is None and self.command is not None

    @property
    def apart(self) -> bool:
        """Whether its ending is its own alone: the job under its id has, or will have, another one."""
        return self.conflicts or self.refused

    @property
    def distinction(self) -> str:
        """What keeps its event apart from others of the same type about the same job.

        A conflict or a refusal is an event of the message: the job has one of its own. A replayed job has had one
        before.
        """
        if self.conflicts:
            return self.digest.hex()
        if self.refused:
            return f"{self.ended.data['code']} {self.message.task_id}"
        return after_replays(self.known.replays if self.known is not None else 0)

    @property
    def ended(self) -> Ending:
        """What it came to, at the end of the batch."""
        if self.ending is None:
            raise AssertionError(f"job {self.job_id} went through its batch without an ending")
        return self.ending

    def again(self) -> "Attempt":
        """The same attempt as it was when it had just been read: a batch that starts again starts from here."""
        kept = None if self.command is not None else self.ending
        read = Attempt(self.message, self.job_id, self.digest, self.command, kept, failure=self.failure)
        read.unsound = self.unsound
        return read
