"""`trivet queues`: what waits where, and the mistakes that an operator makes."""

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.fixtures.command_line import Run
from tests.fixtures.jobs import Bank
from worker.intake.keys import Keys


@pytest.fixture
def redis(bank: Bank) -> Iterator[Redis]:
    """Redis, where nothing is left paused."""
    client = bank.run.given.redis
    yield client
    client.delete(Keys().paused)


def test_a_queue_that_no_job_has_is_paused_with_a_note(redis: Redis, trivet: Run) -> None:
    typo = trivet("queues", "pause", "acounts")
    right = trivet("queues", "pause", "accounts")
    listed = trivet("queues", "ls")

    assert (typo.returncode, right.returncode) == (0, 0)
    assert "no job here has the queue acounts" in typo.stderr
    assert "accounts, " in typo.stderr
    assert right.stderr == ""
    assert "paused, and no job here has it" in listed.stdout
    assert redis.smembers(Keys().paused) == {b"acounts", b"accounts"}


def test_a_key_of_another_type_is_named(redis: Redis, trivet: Run) -> None:
    redis.set("posts", "no list")

    listed = trivet("queues", "ls")

    assert listed.returncode == 1
    assert listed.stderr.count("\n") == 1, listed.stderr
    assert "'posts'" in listed.stderr
