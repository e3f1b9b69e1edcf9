"""Redis loses its data under load: what the ledger knows comes back."""

from collections import Counter

import pytest
from redis import Redis

from tests.fixtures.fleet import loaded
from tests.fixtures.jobs import Bank
from tests.fixtures.load import ended, mixed
from tests.fixtures.nodes import StartNode, wait_for
from worker.delivery.stream import TURNS
from worker.execution.appending import has_lost
from worker.operations.embedded import Urls


def as_they_are(redis: Redis, keys: tuple[str, ...]) -> dict[str, bytes]:
    """These keys at one moment, as an AOF has them."""
    with redis.pipeline(transaction=True) as pipe:
        for key in keys:
            pipe.dump(key)
        return dict(zip(keys, pipe.execute(), strict=True))


def bring_back(redis: Redis, kept: dict[str, bytes]) -> None:
    """The data as it was, as a Redis that starts from an older AOF has it."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for key, value in kept.items():
            pipe.restore(key, 0, value)
        pipe.execute()


def is_quiet(bank: Bank) -> bool:
    """Whether nothing waits, is in hand, owed or lost."""
    redis = bank.run.given.redis
    in_hand = sum(redis.hlen(key) for key in redis.scan_iter("trivet:held:*", count=1_000))
    if redis.llen("accounts") or in_hand or has_lost(bank.run.given):
        return False
    return bool(bank.value("SELECT count(*) = 0 FROM trivet.outbox"))


@pytest.mark.parametrize("kept_keys", [(), ("events", TURNS)], ids=["flushall", "an older state"])
def test_when_redis_loses_data_under_load_the_event_of_every_ended_job_is_in_the_stream_once(
    bank: Bank, servers: Urls, start_node: StartNode, kept_keys: tuple[str, ...]
) -> None:
    redis = bank.run.given.redis
    jobs = mixed(bank.open_many(10, 1_000), 4_000)
    node = start_node(servers, concurrency=2)

    with loaded(redis, jobs, rate=300):
        for share in (200, 500):
            wait_for(lambda share=share: ended(bank) >= share, 20, node.log)  # type: ignore[misc]  # bound at once
            kept = as_they_are(redis, kept_keys)
            wait_for(lambda share=share: ended(bank) >= share + 100, 20, node.log)  # type: ignore[misc]  # as above
            bring_back(redis, kept)
        wait_for(lambda: ended(bank) >= 800, 20, node.log)
    wait_for(lambda: is_quiet(bank), 30, node.log)

    bank.check()
    assert set(Counter(event["id"] for event in bank.events()).values()) == {1}
    assert node.stop() == 0


def test_a_loss_is_mended_within_seconds_though_nothing_is_published(
    bank: Bank, servers: Urls, start_node: StartNode
) -> None:
    bank.open_many(10, 0)
    before = bank.events()
    node = start_node(servers, concurrency=1)

    bank.run.given.redis.flushall()

    wait_for(lambda: bank.events() == before, 5, node.log)
