"""One payload against one class of commands: what is wrong with it becomes a rejection that names the field."""

from typing import TypeVar

from pydantic import ValidationError

from worker.errors import InvalidPayload
from worker.execution.command import Command

C = TypeVar("C", bound=Command)


def validated(kind: type[C], payload: bytes) -> C:
    """The command that this JSON is. Raises `InvalidPayload`, or the rejection of a check that has its own code."""
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise refusal_of(error) from error


def refusal_of(error: ValidationError) -> InvalidPayload:
    """The first of what is wrong, as a rejection."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return InvalidPayload(first["msg"].removeprefix("Value error, "), field=place or None)
