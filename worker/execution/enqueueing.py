"""Enqueueing by Python: what is asked for becomes a message, is checked as a worker will check it, and is sent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

import orjson
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from worker.envelopes import body_of
from worker.errors import InvalidPayload, Outcome, Rejected
from worker.execution.accepting import accept
from worker.execution.attempt import Attempt
from worker.execution.command import Command, Result
from worker.execution.enqueued import Enqueued
from worker.execution.reading import Takes, read
from worker.messages import Message, random_id, version_header
from worker.producer import CHUNK, current

R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)


class Answers(Takes, Protocol[R_co]):
    """What enqueueing knows of a job: what it takes, and what it answers."""

    @property
    def answer(self) -> type[R_co]:
        """The class of its results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a producer may say of a job beside its payload; times are aware.

    `idempotency_key`: the job's id is made from it. `want_result`: its result is stored. `deadline`: it is not
    worth starting afterwards. `eta`: it is not to start before. `traceparent`: W3C trace context, for its event.
    """

    idempotency_key: str | None = None
    want_result: bool = False
    deadline: datetime | None = None
    eta: datetime | None = None
    traceparent: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that were set, by name."""
        every = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in every.items() if value is not None and value is not False}

    @property
    def headers(self) -> dict[str, Any]:
        """As headers of a message; all but `eta`, which is Celery's and not kept with the job."""
        if self is NONE:
            return {}
        headers = {name: value for name, value in self.given.items() if name != "eta"}
        if self.deadline is not None:
            headers["deadline"] = _moment(self.deadline)
        return headers


NONE: Final = Options()

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 9000
"""Between these a time can be kept and read by everybody: PostgreSQL's calendar is longer than Python's."""

Payload = Command | Mapping[str, Any]
Asked = Payload | tuple[Payload, Options] | Enqueued[Any]
"""A command or its fields, with options or without; or what was composed before, to be sent again."""


def enqueue_one(
    job: Answers[R], command: Command | None, given: Mapping[str, Any], options: Options
) -> Enqueued[R]:
    """Send a command, or one that is made of these fields. Raises as `enqueue_all`, and `TypeError` for both."""
    outgoing, _ = compose_one(job, command, given, options)
    (sent,) = _send([outgoing])
    return sent


def enqueue_with(
    transaction: Session | Connection,
    job: Answers[R],
    command: Command | None,
    given: Mapping[str, Any],
    options: Options,
) -> Enqueued[R]:
    """Enqueue a command, or one that is made of these fields, if and only if the transaction commits.

    Raises as `enqueue_one` does for what is wrong with it, and `IdempotencyConflict`.
    """
    outgoing, attempt = compose_one(job, command, given, options)
    accept(transaction, attempt, outgoing.eta)
    return outgoing


def compose_one(
    job: Answers[R], command: Command | None, given: Mapping[str, Any], options: Options
) -> tuple[Enqueued[R], Attempt]:
    """Make a message of a command, or of these fields, and read it as a worker will.

    Raises the rejection that a worker would answer it with, and `TypeError` for both.
    """
    if command is not None and given:
        raise TypeError(f"{job.name} takes a command or its fields, not both: {', '.join(given)}")
    if command is None and (both := options.given.keys() & job.command.model_fields.keys()):
        raise TypeError(f"{job.name} has fields that are also options: {', '.join(both)}; pass a command")
    outgoing = _compose(job, (given if command is None else command, options))
    (attempt,) = check(job, [outgoing.message])
    return outgoing, attempt


def enqueue_all(job: Answers[R], asked: Iterable[Asked]) -> list[Enqueued[R]]:
    """Check them all, and then send them all, in order.

    Raises `InvalidPayload` or `PayloadTooLarge` before anything is sent, `QueueFull`, and `NotEnqueued` when Redis
    is away: it knows how far it came.
    """
    outgoing = []
    for index, each in enumerate(asked):
        try:
            outgoing.append(_compose(job, each))
        except InvalidPayload as problem:
            raise _at(index, problem) from problem.__cause__
    for start in range(0, len(outgoing), CHUNK):  # what is read is large and soon forgotten
        check(job, [one.message for one in outgoing[start : start + CHUNK]], first=start)
    return _send(outgoing)


def compose_message(job: Takes, payload: bytes, options: Options) -> Message:
    """The message of a job whose payload is this JSON object of its own version, unchecked."""
    headers = options.headers | version_header(job.version)
    return Message(job.name, random_id(), body_of(payload), headers=headers)


def check(job: Takes, messages: Sequence[Message], *, first: int | None = None) -> list[Attempt]:
    """Read messages as a worker will. Raises the rejection of the first that it would refuse, or a failed check.

    When they are part of a list, from its place `first` on, the field begins with the message's place, from 0.
    """
    attempts = read(job, messages)
    for index, attempt in enumerate(attempts, first or 0):
        if attempt.failure is not None:
            raise attempt.failure
        if (ending := attempt.ending) is not None:
            refused = ending.outcome is Outcome.REJECTED
            problem = Rejected.told(ending.data) if refused else InvalidPayload(ending.data["message"])
            raise problem if first is None else _at(index, problem)
    return attempts


def _compose(job: Answers[R], asked: Asked) -> Enqueued[R]:
    if isinstance(asked, Enqueued):
        if asked.message.task != job.name:
            raise TypeError(f"this is a job of {asked.message.task}, not of {job.name}")
        return asked
    payload, options = asked if isinstance(asked, tuple) else (asked, NONE)
    if options is not NONE:
        _check_options(options)
    message = compose_message(job, _json(job, payload), options)
    return Enqueued(message, options.eta, answer=job.answer)


def _check_options(options: Options) -> None:
    """Raise `InvalidPayload` for an option of another kind than it says; the key is looked at as a worker will."""
    for name in ("deadline", "eta"):
        _check_time(name, getattr(options, name))
    if not isinstance(options.want_result, bool):
        raise InvalidPayload("must be true or false", field="want_result")
    if not isinstance(options.traceparent, str | None):
        raise InvalidPayload("must be text", field="traceparent")


def _check_time(name: str, given: object) -> None:
    if given is None:
        return
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise InvalidPayload("must be a time with a zone", field=name)
    if not FIRST_YEAR <= given.year < LAST_YEAR:
        raise InvalidPayload(f"must be a time from {FIRST_YEAR} to {LAST_YEAR}", field=name)


def _send(outgoing: Sequence[Enqueued[R]]) -> list[Enqueued[R]]:
    began_ms = current().send(outgoing)
    return [one if one.since_ms else one.sent_at(began_ms) for one in outgoing]


def _json(job: Takes, payload: Payload) -> bytes:
    if isinstance(payload, BaseModel) and not isinstance(payload, job.command):
        raise TypeError(f"{job.name} takes {job.command.__name__}, not {type(payload).__name__}")
    try:
        return _to_json(_plain(payload))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"cannot be JSON: {error}") from error


def _to_json(payload: Any) -> bytes:
    """By orjson, in a third of the time, where it says the same as `json`; else by that."""
    try:
        # Without a `default`: an iterator that it had used up would be empty for the other.
        encoded = orjson.dumps(payload, option=_LEFT_TO_PLAIN)
    except TypeError:
        return _by_json(payload)
    # It makes null of a number that is not finite, which is to be refused.
    return _by_json(payload) if b"null" in encoded else encoded


def _by_json(payload: Any) -> bytes:
    return _encode(payload).encode()


def _plain(value: Any) -> Any:
    # Fields go as they were given, so that the payload is the same as from any other client; of a model, those
    # that were set.
    match value:
        case BaseModel():
            return value.model_dump(mode="json", exclude_unset=True)
        case Mapping():
            return dict(value)
        case _:
            return to_jsonable_python(value)


_encode = json.JSONEncoder(default=_plain, separators=(",", ":")).encode

_LEFT_TO_PLAIN: Final = (
    orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def _moment(time: datetime) -> str:
    return (time.astimezone(UTC) if time.tzinfo else time).isoformat()


def _at(index: int, problem: Rejected) -> Rejected:
    problem.field = f"{index}.{problem.field}" if problem.field else str(index)
    problem.add_note(f"nothing was sent: number {index} of the list, counted from 0, is refused")
    return problem
