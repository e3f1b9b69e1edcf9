import random
from pathlib import Path
from typing import Any

from redis import Redis

from tests.fixtures.consumer import Consumer
from tests.fixtures.fleet import loaded
from tests.fixtures.jobs import Bank
from tests.fixtures.load import mixed, settle
from tests.fixtures.nodes import StartNode, wait_for
from worker.operations.embedded import Urls

KILLS = 20


def repeat_newest(redis: Redis, count: int) -> None:
    """What a turn does that published, and was killed before it could strike off."""
    newest: Any = redis.xrevrange("events", count=count)
    for _, fields in reversed(newest):
        redis.xadd("events", fields)


def test_a_subscriber_killed_twenty_times_under_load_misses_nothing_and_gets_nothing_twice(
    bank: Bank, servers: Urls, start_node: StartNode, tmp_path: Path
) -> None:
    chance = random.Random(1)
    redis = bank.run.given.redis
    jobs = mixed(bank.open_many(10, 1_000), 5_000)
    before = redis.xlen("events")
    consumer = Consumer(servers.redis, tmp_path / "got.db")
    start_node(servers, concurrency=1)

    with loaded(redis, jobs, rate=150) as load:
        for _ in range(KILLS):
            consumer.start()
            consumer.wait_for_more(chance.randint(1, 40))
            consumer.kill()
            repeat_newest(redis, chance.randint(1, 20))
    consumer.start()
    settle(bank, load.sent)
    published = list(dict.fromkeys(event["id"] for event in bank.events()))
    wait_for(lambda: len(consumer.got()) >= len(published), 30)
    consumer.kill()

    assert consumer.got() == published
    assert len(published) == before + load.sent
