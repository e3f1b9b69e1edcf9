"""From messages to commands: what cannot be read or is not valid gets its ending here, before any transaction."""

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from worker.errors import InvalidPayload, Rejected, Revoked, Unreadable
from worker.execution.attempt import Attempt, Ending
from worker.execution.command import Command
from worker.messages import Message, check_headers, job_id, raw_digest, read_payload


class Takes(Protocol):
    """What reading knows of a job: the commands that it takes."""

    @property
    def name(self) -> str:
        """Its task."""

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
            payload = read_payload(message)
            attempt.digest = payload.digest
            check_headers(message.headers)
            if message.revoked:
                raise Revoked("revoked before it started")
            payloads[position] = payload.canonical
        except (Rejected, Unreadable) as problem:
            attempt.digest = attempt.digest or raw_digest(message)
            attempt.ending = _set_aside(problem)
    for position, command in zip(payloads, _validate(job, list(payloads.values())), strict=True):
        if isinstance(command, Rejected):
            attempts[position].ending = Ending.rejected(command)
        else:
            attempts[position].command = command
    return attempts


def _set_aside(problem: Rejected | Unreadable) -> Ending:
    if isinstance(problem, Rejected):
        return Ending.rejected(problem)
    return Ending.parked("unreadable", str(problem))


def _validate(job: Takes, payloads: Sequence[bytes]) -> list[Command | Rejected]:
    try:
        commands: list[Command | Rejected] = job.many.validate_json(b"[" + b",".join(payloads) + b"]")
    except (ValidationError, Rejected):
        return [_validate_one(job, payload) for payload in payloads]
    return commands


def _validate_one(job: Takes, payload: bytes) -> Command | Rejected:
    try:
        command: Command = job.command.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return InvalidPayload(first["msg"].removeprefix("Value error, "), field=place or None)
    except Rejected as rejection:  # a check of a field may have a code of its own
        return rejection
    return command
