"""What a pool process reports must fit into a pipe that nobody reads while the main process ends."""

import pickle

import orjson
import pytest

from worker.errors import Outcome
from worker.execution.attempt import Ending
from worker.intake.pool_process import Report, code_of

CODES = ("insufficient_funds", "account_not_found", "invalid_payload", "idempotency_conflict")


def rejected(number: int) -> Ending:
    """As the ledger gives back one that has ended: each with a text of its own."""
    return Ending(Outcome.REJECTED, orjson.loads(orjson.dumps({"code": CODES[number % 4], "message": "x" * 500})))


@pytest.mark.parametrize(("jobs", "bytes_max"), [(500, 4 * 1024), (10_000, 48 * 1024)])
def test_a_report_is_small_even_when_every_job_was_rejected(jobs: int, bytes_max: int) -> None:
    endings = [rejected(number) for number in range(jobs)]
    outcomes = [Outcome(ending.outcome.value) for ending in endings]

    report = Report(outcomes, codes=[code_of(ending) for ending in endings], runtime_s=1.5)

    assert len(pickle.dumps(report)) < bytes_max
    assert report.codes[:4] == list(CODES)


def test_a_job_that_succeeded_has_no_code() -> None:
    assert code_of(Ending(Outcome.SUCCEEDED, {"code": "its own"})) == ""
