"""The subject of a job's events: a template over the fields of its command and its result."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from worker import Command, Result, UnitOfWork
from worker.execution.job import Job

ID = uuid4()


class Name(Command):
    """Names somebody."""

    user: UUID
    alias: str | None = None
    number: int = 7


class Named(Result):
    """Somebody is named."""


def body(_command: Name, _work: UnitOfWork) -> Named:
    return Named()


TEMPLATES = {
    "users/{user}": f"users/{ID}",
    "{job_id}/{user}": f"{ID}/{ID}",
    "{number}": "7",
    "{alias}": "told",
    "{result_only}": "too",
    "plain": "plain",
    "{user.hex}": ID.hex,
    "{number:03}": "007",
    "{alias!r}": "'told'",
    "{{literal}}/{number}": "{literal}/7",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_subject_is_its_template_filled_in(template: str) -> None:
    result: dict[str, Any] = {"alias": "told", "result_only": "too", "user": "hidden by the command's"}

    subject = Job("testing.name", body, Name, template).subject_of(Name(user=ID), ID, result)

    assert subject == TEMPLATES[template]
