from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any
from uuid import uuid4

import orjson
import pytest
from pydantic import AfterValidator

from tests.fixtures.jobs import message
from tests.fixtures.odd_jobs import Greet, GreetOne, from_1, from_2, greet
from worker import Command
from worker.errors import Outcome
from worker.execution.attempt import Attempt
from worker.execution.job import job
from worker.execution.reading import read
from worker.execution.upcasting import Upcaster, brought_up, older_forms
from worker.messages import digest_of


def reading(payload: Any, **headers: Any) -> Attempt:
    (attempt,) = read(greet, [message("testing.greet", payload, **headers)])
    return attempt


@pytest.mark.parametrize(
    ("version", "payload", "command"),
    [
        (3, {"names": ["Ada", "Bob"]}, Greet(names=["Ada", "Bob"])),
        (2, {"name": "Ada", "loud": True}, Greet(names=["Ada"], tone="loud")),
        (1, {"who": "Ada"}, Greet(names=["Ada"])),
    ],
)
def test_every_version_becomes_the_same_command(version: int, payload: Any, command: Greet) -> None:
    assert reading(payload, payload_version=version).command == command
    assert reading(payload, payload_version=str(version)).command == command


def test_a_message_without_a_version_is_of_version_1() -> None:
    assert reading({"who": "Ada"}).command == Greet(names=["Ada"])


def test_the_digest_stays_that_of_the_payload_as_it_came() -> None:
    older = message("testing.greet", {"who": "Ada"})

    (attempt,) = read(greet, [older])

    assert attempt.digest == digest_of(older)
    assert attempt.digest != digest_of(message("testing.greet", {"names": ["Ada"]}))


@pytest.mark.parametrize("version", [4, 999, 0, "x"])
def test_a_version_that_the_job_does_not_take_is_parked_as_unreadable(version: object) -> None:
    attempt = reading({"names": []}, payload_version=version)

    assert attempt.ending is not None
    assert (attempt.ending.outcome, attempt.ending.data["code"]) == (Outcome.PARKED, "unreadable")
    assert "payload_version" in attempt.ending.data["message"]


@pytest.mark.parametrize(
    ("version", "payload", "code", "field"),
    [
        (2, {"name": ""}, "invalid_payload", "name"),
        (2, {"name": "Ada", "names": []}, "invalid_payload", "names"),
        (2, {"who": "Ada"}, "invalid_payload", "name"),
        (1, {"who": 5}, "invalid_payload", "name"),
        (1, {"who": "nobody"}, "invalid_payload", None),
        (1, {"who": "everybody"}, "spoiled", "who"),
        (3, {"who": "Ada"}, "invalid_payload", "names"),
    ],
)
def test_an_older_payload_that_is_not_valid_is_rejected(
    version: int, payload: Any, code: str, field: str | None
) -> None:
    attempt = reading(payload, payload_version=version)

    assert attempt.ending is not None
    assert attempt.ending.outcome is Outcome.REJECTED
    assert (attempt.ending.data["code"], attempt.ending.data.get("field")) == (code, field)


@pytest.mark.parametrize("payload", [{"who": "bug"}, {"who": "list"}, {}])
def test_an_upcaster_that_fails_harms_no_neighbour_and_decides_nothing(payload: Any) -> None:
    bad, good = read(
        greet, [message("testing.greet", payload), message("testing.greet", {"names": ["Ada"]}, payload_version=3)]
    )

    assert (bad.command, bad.ending) == (None, None)
    assert "from_1" in str(bad.failure)
    assert good.command == Greet(names=["Ada"])


def test_a_payload_of_the_jobs_own_version_is_left_alone() -> None:
    assert brought_up(greet, 3, b"anything") == b"anything"


def test_upcasting_takes_one_step_after_the_other() -> None:
    assert orjson.loads(brought_up(greet, 1, b'{"who":"Ada"}')) == {"names": ["Ada"]}


def test_the_forms_of_older_versions_are_known_where_an_upcaster_names_them() -> None:
    assert list(older_forms(greet)) == [(1, None), (2, GreetOne)]


@pytest.mark.parametrize(
    ("version", "upcast"),
    [(1, {1: from_1}), (3, {1: from_1}), (3, {2: from_2, 3: from_1}), (2, {0: from_1, 1: from_1}), (0, {})],
)
def test_upcasters_that_do_not_lead_to_the_jobs_version_are_refused_when_it_is_declared(
    version: int, upcast: Mapping[int, Upcaster]
) -> None:
    with pytest.raises(ValueError, match="one for each version"):
        job(f"testing.{uuid4()}", version=version, upcast=upcast)(greet.body)


def test_a_job_may_forget_its_oldest_versions() -> None:
    newer = replace(greet, upcast={2: from_2})

    (attempt,) = read(newer, [message("testing.greet", {"who": "Ada"})])

    assert attempt.ending is not None
    assert attempt.ending.data["code"] == "unreadable"


class Brittle(Command):
    """An older payload that is checked by code which fails."""

    number: Annotated[int, AfterValidator({2: 2}.__getitem__)]  # a KeyError for any other


def from_brittle(older: Brittle) -> Greet:
    return Greet(names=[str(older.number)])


def unannotated(older) -> Greet:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as somebody may write it
    return Greet(names=[older["who"]])


def test_a_check_of_an_older_payload_that_fails_harms_no_neighbour_and_decides_nothing() -> None:
    older = replace(greet, version=2, upcast={1: from_brittle})

    attempts = read(older, [message("testing.greet", {"number": number}) for number in (2, 3)])

    assert attempts[0].command == Greet(names=["2"])
    assert attempts[1].ending is None
    assert attempts[1].failure is not None


def test_what_an_upcaster_returns_is_not_taken_for_what_it_is_given() -> None:
    older = replace(greet, version=2, upcast={1: unannotated})

    (attempt,) = read(older, [message("testing.greet", {"who": "Ada"})])

    assert attempt.command == Greet(names=["Ada"])
    assert list(older_forms(older)) == [(1, None)]
