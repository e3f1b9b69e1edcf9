"""A batch with many slow jobs ends in time: what has not been tried by then is tried again, uncounted."""

import time

import pytest

from tests.fixtures.jobs import Bank, Runner, message, settings_for
from worker.operations.embedded import Urls
from worker.stores.resources import Resources

LEASE_S = 3
SILENT_S = 1.3  # of a lease of 3 s, PostgreSQL waits for 1 s


@pytest.mark.usefixtures("given")
def test_a_batch_of_slow_jobs_ends_before_its_process_would_be_killed(servers: Urls) -> None:
    settings = settings_for(servers, lease_s=LEASE_S)
    given = Resources.open(settings)
    bank = Bank(Runner(given))
    began = time.monotonic()

    endings = bank.run(*(message("testing.think", {"seconds": SILENT_S}) for _ in range(20)))

    took_s = time.monotonic() - began
    failures = [row.failures for row in bank.rows("SELECT failures FROM trivet.jobs WHERE state = 'retrying'")]
    bank.run.node.close()
    given.close()
    assert {ending.outcome.value for ending in endings} == {"retrying"}
    assert set(failures) == {0, 1}  # some were tried alone, for the others there was no time
    assert took_s < settings.batch_limit_s
