"""The contract is whole: each job has its row, each row its job, and each code and effect its test."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from docs.pages.refusals import refusals
from docs.pages.tasks import declared
from tests.acceptance import rows
from tests.acceptance.rows.contract import NOT_BROADCAST, ROWS, TO_COME
from tests.acceptance.rows.test_rejections import CASES
from tests.fixtures.service import Service

JOBS = {job.name: job for job in declared() if not job.name.endswith("_singly")}  # those are made by a test
OWN_TEST = {("notifications.send", "rate_limited")}
"""Codes that take more than one job to come to."""
CANNOT_BE = {
    ("accounts.capture", "account_not_found"),
    ("accounts.capture", "insufficient_funds"),
    ("accounts.release", "account_not_found"),
}
"""Codes that the source names and nothing leads to: accounts are never removed, and what is held is there."""


def proved() -> Iterator[str]:
    """The tasks whose effect a test of this package proves."""
    for module in pkgutil.iter_modules(rows.__path__, f"{rows.__name__}."):
        for function in vars(importlib.import_module(module.name)).values():
            yield from (
                mark.args[0] for mark in getattr(function, "pytestmark", []) if mark.name == "row" and mark.args
            )


def test_every_job_is_a_row_of_the_contract_and_every_row_a_job() -> None:
    assert JOBS.keys() == ROWS.keys() - TO_COME


def test_every_job_has_a_test_of_its_effect() -> None:
    assert set(proved()) == JOBS.keys()


@pytest.mark.parametrize("task", JOBS)
def test_a_job_has_the_subject_the_codes_and_the_silence_that_its_row_says(task: str) -> None:
    job, row = JOBS[task], ROWS[task]

    assert job.subject == row.subject
    assert set(row.codes) <= set(refusals(job))
    assert job.broadcast is (task not in NOT_BROADCAST)


def test_every_code_that_a_job_may_be_rejected_with_has_a_test() -> None:
    tested = {(task, code) for task, code, _ in CASES} | OWN_TEST

    assert tested == {(name, code) for name, job in JOBS.items() for code in refusals(job)} - CANNOT_BE


@pytest.mark.parametrize("task", JOBS)
def test_an_unknown_field_and_a_payload_of_257_kib_are_refused_by_every_task(service: Service, task: str) -> None:
    unknown = service.job(task, {"colour": "green"}).refusal
    too_large = service.job(task, {"colour": "g" * 257 * 1024}).refusal

    assert (unknown["code"], too_large["code"]) == ("invalid_payload", "payload_too_large")
    assert unknown["field"]


def test_an_event_is_published_live_as_it_is_kept(service: Service) -> None:
    redis: Any = service.redis
    with redis.pubsub() as listener:
        listener.subscribe("events:accounts.deposit.rejected")
        assert listener.get_message(timeout=5)["type"] == "subscribe"

        ended = service.job("accounts.deposit", {"account": uuid4(), "amount": 1})

        live = json.loads(listener.get_message(timeout=5)["data"])
    assert live == ended.event


def test_when_all_is_done_everything_adds_up(service: Service, user: UUID) -> None:
    source, target = service.bank.open_many(2, 10, owner=user)
    service.job("accounts.transfer", {"source": source, "target": target, "amount": 3})

    service.bank.check()
