"""Payloads of older versions: each is brought up to the next version, step by step, until the job takes it."""

from collections.abc import Callable, Iterator, Mapping
from inspect import get_annotations, signature
from typing import Any, Protocol

import orjson
from pydantic import BaseModel, ValidationError

from worker.errors import InvalidPayload, Rejected, TrivetError, Unreadable
from worker.execution.command import Command
from worker.execution.validating import refusal_of, validated
from worker.messages import payload_version

Upcaster = Callable[[Any], Command | Mapping[str, Any]]
"""From a payload of one version to that of the next: a pure function.

Its parameter's annotation says what it is given: a subclass of `Command`, which reads and checks the older payload
first, or else a JSON object that nobody has checked. It raises `ValueError` or `Rejected` for what cannot be.
"""


class UpcastFailed(TrivetError):
    """An upcaster raised what says nothing of the payload: its code failed, and the job is tried again."""


class Versioned(Protocol):
    """What is known here of a job."""

    @property
    def name(self) -> str:
        """Its task."""

    @property
    def version(self) -> int:
        """The version of the payloads that its command reads."""

    @property
    def upcast(self) -> Mapping[int, Upcaster]:
        """The way from each older version to the next."""


def refuse_gaps(job: Versioned) -> None:
    """Raise `ValueError` unless its upcasters lead from one to the next up to its own version."""
    oldest = min(job.upcast, default=job.version)
    if oldest < 1 or sorted(job.upcast) != list(range(oldest, job.version)):
        given = ", ".join(map(str, sorted(job.upcast))) or "none"
        raise ValueError(
            f"{job.name} takes version {job.version}; its upcasters are from {given}: give one for each version"
            f" from the oldest, 1 or higher, to {job.version - 1}"
        )


def version_of(job: Versioned, headers: Mapping[str, Any]) -> int:
    """The version of a message's payload. Raises `Unreadable` when the job does not take it."""
    version = payload_version(headers)
    if version != job.version and version not in job.upcast:
        raise Unreadable(f"payload_version {version} of {job.name} is not known here")
    return version


def brought_up(job: Versioned, version: int, payload: bytes) -> bytes:
    """The payload, a JSON object, as the job's own version has it.

    Raises a rejection when the older payload is not valid, `UpcastFailed` when an upcaster fails otherwise.
    """
    for older in range(version, job.version):
        payload = _next(job.upcast[older], payload)
    return payload


def older_forms(job: Versioned) -> Iterator[tuple[int, type[Command] | None]]:
    """The older versions that a job takes, and the class of each where its upcaster names one."""
    for version in sorted(job.upcast):
        yield version, _form(job.upcast[version])


def _next(upcaster: Upcaster, payload: bytes) -> bytes:
    try:
        form = _form(upcaster)
        return _json(upcaster(orjson.loads(payload) if form is None else validated(form, payload)))
    except ValidationError as error:
        raise refusal_of(error) from error
    except Rejected:
        raise
    except ValueError as error:
        raise InvalidPayload(str(error)) from error
    except Exception as error:
        raise UpcastFailed(f"{_name(upcaster)}: {type(error).__name__}") from error


def _json(newer: object) -> bytes:
    match newer:
        case BaseModel():
            return newer.model_dump_json(exclude_unset=True).encode()
        case Mapping():
            return orjson.dumps(dict(newer))
        case _:
            raise TypeError(f"an upcaster returns a command or a JSON object, not {type(newer).__name__}")


def _form(upcaster: Upcaster) -> type[Command] | None:
    parameter = next(iter(signature(upcaster).parameters.values()))
    annotation = get_annotations(upcaster, eval_str=True).get(parameter.name)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Command) else None


def _name(upcaster: Upcaster) -> str:
    return str(getattr(upcaster, "__qualname__", upcaster))
