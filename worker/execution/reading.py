"""From messages to commands: what cannot be read or is not valid gets its ending here, before any transaction."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter

from worker.errors import Rejected, Revoked, Unreadable
from worker.execution.attempt import Attempt, Ending
from worker.execution.command import Command
from worker.execution.upcasting import UpcastFailed, Versioned, brought_up, version_of
from worker.execution.validating import validated
from worker.messages import Message, check_headers, digest_of, job_id, read_payload

T = TypeVar("T")


class Takes(Versioned, Protocol):
    """What reading knows of a job: the commands that it takes."""

    @property
    def command(self) -> type[Command]:
        """Their class."""

    @property
    def many(self) -> TypeAdapter[Any]:
        """Reads those of a whole batch at once."""


def read(job: Takes, messages: Sequence[Message]) -> list[Attempt]:
    """Decode the messages of one batch and validate their payloads; the order is kept."""
    attempts = []
    payloads: dict[int, bytes] = {}
    for position, message in enumerate(messages):
        attempt = Attempt(message, job_id(message), b"")
        attempts.append(attempt)
        try:
            payloads[position] = _payload(job, attempt)
        except (Rejected, Unreadable) as problem:
            attempt.digest = attempt.digest or digest_of(message)
            attempt.ending = _set_aside(problem)
        except UpcastFailed as failure:
            attempt.failure = failure
    for position, command in zip(payloads, _validate(job, list(payloads.values())), strict=True):
        match command:
            case Rejected():
                attempts[position].ending = Ending.rejected(command)
            case Exception():
                attempts[position].failure = command
            case _:
                attempts[position].command = command
    return attempts


def _payload(job: Takes, attempt: Attempt) -> bytes:
    """The payload as the job takes it; the digest is that of the payload as it came."""
    message = attempt.message
    version = _sound(attempt, lambda: version_of(job, message.headers))
    payload = read_payload(message)
    attempt.digest = payload.digest
    _sound(attempt, lambda: _check(message))
    return brought_up(job, version, payload.canonical)


def _sound(attempt: Attempt, check: Callable[[], T]) -> T:
    """What the check returns; what it refuses, it refuses for the message itself, not for its payload."""
    try:
        return check()
    except (Rejected, Unreadable):
        attempt.unsound = True
        raise


def _check(message: Message) -> None:
    check_headers(message.headers)
    if message.revoked:
        raise Revoked("revoked before it started")


def _set_aside(problem: Rejected | Unreadable) -> Ending:
    if isinstance(problem, Rejected):
        return Ending.rejected(problem)
    return Ending.parked("unreadable", str(problem))


def _validate(job: Takes, payloads: Sequence[bytes]) -> list[Command | Exception]:
    """The commands; for one that is not valid its rejection, and where a check itself failed, what it raised."""
    try:
        commands: list[Command | Exception] = job.many.validate_json(b"[" + b",".join(payloads) + b"]")
    except Exception:  # noqa: BLE001 - one by one it shows whose it is
        return [_validate_one(job, payload) for payload in payloads]
    return commands


def _validate_one(job: Takes, payload: bytes) -> Command | Exception:
    try:
        return validated(job.command, payload)
    except Exception as problem:  # noqa: BLE001 - a check that fails is no reason to keep its neighbours waiting
        return problem
