"""No reader sees what a writer has replaced and dropped: both are driven step by step, in random orders."""

import random
from collections.abc import Iterator
from itertools import count

import pytest
from redis import Redis

from tests.fixtures.jobs import Bank, message
from worker.execution import batch
from worker.stores.cache import Cache, Hit, Lease, kept_under
from worker.stores.resources import Resources

Step = Iterator[None]


class Stale(AssertionError):
    """A reader that began after a delivery saw an older version."""


class World:
    """One row, cached: its versions are committed, and then delivered, which drops the cached copy."""

    def __init__(self, redis: Redis, cache: Cache, key: str) -> None:
        self.redis = redis
        self.cache = cache
        self.key = key
        self.delivered = 0
        self._committed = 0

    def commit(self) -> None:
        self._committed += 1

    def load(self) -> int:
        return self._committed

    def deliver(self) -> None:
        self.cache.forget(self.key)


def writer(world: World) -> Step:
    world.commit()
    yield
    version = world.load()
    world.deliver()
    world.delivered = version


def reader(world: World) -> Step:
    oldest = world.delivered
    found = world.cache.lookup(world.key)
    if isinstance(found, Hit):
        if int(found.value) < oldest:
            raise Stale(f"{found.value!r} after {oldest} was delivered")
        return
    yield
    loaded = world.load()  # never older than what was delivered
    yield
    if isinstance(found, Lease):
        world.cache.store(world.key, found.token, b"%d" % loaded)


def lapse(world: World) -> Step:
    """The lease of whoever holds it runs out."""
    yield
    world.redis.delete(kept_under(world.key)[1])


def play(world: World, chance: random.Random) -> None:
    """Two readers and a writer or two, in a random order; then one more reader, when all is delivered."""
    steps = [reader(world), reader(world), writer(world)]
    steps += [player(world) for player, often in ((writer, 0.5), (lapse, 0.2)) if chance.random() < often]
    while steps:
        chosen = chance.randrange(len(steps))
        if next(steps[chosen], "done") == "done":
            steps.pop(chosen)
    next(reader(world), None)


@pytest.fixture
def redis(given: Resources) -> Iterator[Redis]:
    """One connection: thousands of interleavings need not borrow one for each step."""
    with given.redis.client() as redis:  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        yield redis


@pytest.fixture
def cache(redis: Redis) -> Cache:
    return Cache(redis, 60)


def test_in_10_000_random_interleavings_no_reader_sees_a_stale_value_after_the_delivery(
    redis: Redis, cache: Cache
) -> None:
    chance = random.Random(4)

    for number in range(10_000):
        play(World(redis, cache, f"user:{number}"), chance)


class Careless(World):
    """The writer drops the value, and leaves the lease of whoever is loading it."""

    def deliver(self) -> None:
        self.redis.delete(self.key)


def test_the_same_interleavings_find_what_goes_wrong_without_the_lease(redis: Redis, cache: Cache) -> None:
    chance = random.Random(4)
    worlds = (Careless(redis, cache, f"user:{number}") for number in range(10_000))

    assert any(goes_wrong(world, chance) for world in worlds)


def goes_wrong(world: World, chance: random.Random) -> bool:
    try:
        play(world, chance)
    except Stale:
        return True
    return False


class RealRow(World):
    """A row in PostgreSQL that a job writes; what the job owes is delivered."""

    names = count(1)

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._user = bank.user()
        redis = bank.run.given.redis
        super().__init__(redis, Cache(redis, 60), f"user:{self._user}")

    def commit(self) -> None:
        rename = message("testing.rename", {"id": self._user, "name": str(next(self.names))})
        done = batch.run(rename.task, [rename], self._bank.run.given)
        assert [attempt.ended.outcome for attempt in done.attempts] == ["succeeded"]

    def load(self) -> int:
        name = str(self._bank.value("SELECT name FROM users WHERE id = :id", id=self._user))
        return int(name) if name.isdigit() else 0

    def deliver(self) -> None:
        self._bank.run.deliver_all()


@pytest.mark.parametrize("seed", range(3))
def test_with_rows_jobs_and_deliveries_no_reader_sees_a_stale_value_either(bank: Bank, seed: int) -> None:
    chance = random.Random(seed)

    for _ in range(30):
        play(RealRow(bank), chance)
