"""The cache: one reader loads, a dead one blocks nobody, and without Redis every reader loads by itself."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session

from tasks.model import User
from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import wait_for
from tests.fixtures.poor_redis import full, hasty_redis, read_only
from tests.fixtures.proxy import Proxy, proxied
from worker.delivery.effects import Effects
from worker.errors import StoreUnavailable
from worker.execution.unit_of_work import UnitOfWork
from worker.settings import Settings
from worker.stores.cache import AWAY_S, Busy, Cache, Counts, Hit, Lease, kept_under
from worker.stores.redis import HASTE_S
from worker.stores.resources import Resources

KEY = "user:1"


@pytest.fixture
def cache(given: Resources) -> Cache:
    return Cache(given.redis, 60, wait_s=10)


@pytest.fixture
def lease(cache: Cache) -> Lease:
    """The lease of a reader that has found nothing."""
    found = cache.lookup(KEY)
    assert isinstance(found, Lease)
    return found


def never() -> None:
    raise AssertionError("loaded")


# One reader


def test_a_value_is_loaded_once_and_then_served_until_its_time_is_over(cache: Cache, given: Resources) -> None:
    first = cache.get(KEY, lambda: {"name": "Ada"})
    second = cache.get(KEY, never)

    assert first == second == {"name": "Ada"}
    assert 59_000 < int(given.redis.pttl(KEY)) <= 60_000
    assert cache.counts() == Counts(hits=1, misses=1)


def test_a_value_is_the_same_whether_it_was_loaded_or_cached(cache: Cache) -> None:
    loaded = {"id": UUID(int=1), "at": datetime(2026, 1, 1, tzinfo=UTC)}

    assert cache.get(KEY, lambda: loaded) == cache.get(KEY, never)


def test_what_does_not_exist_is_not_cached_and_keeps_nobody_waiting(cache: Cache, given: Resources) -> None:
    assert cache.get(KEY, lambda: None) is None

    assert given.redis.exists(*kept_under(KEY)) == 0
    assert cache.get(KEY, lambda: 7) == 7


def test_a_load_that_fails_gives_its_lease_back(cache: Cache, given: Resources) -> None:
    with pytest.raises(AssertionError, match="loaded"):
        cache.get(KEY, never)

    assert given.redis.exists(*kept_under(KEY)) == 0


# Several readers


@pytest.mark.parametrize("value", [b"1", b""])
def test_a_lease_is_handed_to_one_reader_until_it_is_ended(cache: Cache, lease: Lease, value: bytes) -> None:
    assert cache.lookup(KEY) == Busy()

    assert cache.store(KEY, lease.token, value)

    assert isinstance(cache.lookup(KEY), Hit if value else Lease)


def test_a_value_is_kept_under_a_lease_that_stands_and_under_no_other(cache: Cache, lease: Lease) -> None:
    assert not cache.store(KEY, "another", b"1")
    cache.forget(KEY)
    newer = cache.lookup(KEY)

    assert isinstance(newer, Lease)
    assert not cache.store(KEY, lease.token, b"1")
    assert cache.store(KEY, newer.token, b"2")
    assert cache.lookup(KEY) == Hit(b"2")


def test_100_concurrent_readers_of_a_cold_key_make_one_query(cache: Cache) -> None:
    loads: list[int] = []

    def load() -> int:
        wait_for(lambda: cache.counts().misses == 100)  # all of them have looked, and found nothing
        loads.append(1)
        return 7

    with ThreadPoolExecutor(100) as threads:
        seen = list(threads.map(lambda _: cache.get(KEY, load), range(100)))

    assert (seen, len(loads)) == ([7] * 100, 1)
    assert cache.counts() == Counts(hits=0, misses=100)


def test_a_reader_that_died_blocks_nobody(given: Resources) -> None:
    cache = Cache(given.redis, 60, wait_s=0.05, lease_s=0.5)
    assert isinstance(cache.lookup(KEY), Lease)

    hasty = cache.get(KEY, lambda: "loaded without the lease")
    kept_by_the_hasty = given.redis.exists(KEY)
    wait_for(lambda: given.redis.exists(*kept_under(KEY)) == 0)
    cache.get(KEY, lambda: "loaded under a new one")

    assert (hasty, kept_by_the_hasty) == ("loaded without the lease", 0)
    assert cache.get(KEY, never) == "loaded under a new one"


def test_a_reader_that_waits_takes_the_lease_over_when_a_writer_drops_it(cache: Cache, lease: Lease) -> None:
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(cache.get, KEY, lambda: "new")
        wait_for(lambda: cache.counts().misses == 2)
        cache.forget(KEY)

        assert waiting.result(5) == "new"

    assert not cache.store(KEY, lease.token, b'"old"')
    assert cache.get(KEY, never) == "new"


# Without Redis


@pytest.fixture
def nobody(no_redis: Redis) -> Cache:
    """A cache whose Redis is not there."""
    return Cache(no_redis, 60)


def test_without_redis_every_reader_loads_by_itself_and_each_step_says_so(nobody: Cache) -> None:
    assert [nobody.get(KEY, lambda: 7) for _ in range(3)] == [7, 7, 7]

    for step in (nobody.counts, lambda: nobody.lookup(KEY), lambda: nobody.forget(KEY)):
        with pytest.raises(StoreUnavailable, match="Redis"):
            step()


@pytest.fixture
def through(settings: Settings, given: Resources) -> Iterator[tuple[Proxy, Cache]]:
    """A cache whose Redis can be silenced, with a client as jobs have it."""
    real = settings.redis_url.get_secret_value()
    with proxied(real) as (proxy, url), hasty_redis(settings, url) as redis:
        yield proxy, Cache(redis, 60)


def test_a_silent_redis_costs_one_read_a_moment_and_the_others_nothing(through: tuple[Proxy, Cache]) -> None:
    proxy, cache = through
    cache.get(KEY, lambda: "old")
    proxy.go_silent()

    began = time.monotonic()
    seen = {cache.get(KEY, lambda: "read through") for _ in range(1_000)}
    took_s = time.monotonic() - began
    proxy.heal()

    assert seen == {"read through"}
    assert took_s < 2 * HASTE_S + AWAY_S
    wait_for(lambda: cache.get(KEY, lambda: "read through") == "old")


def test_a_value_that_redis_does_not_take_is_returned_all_the_same(through: tuple[Proxy, Cache]) -> None:
    proxy, cache = through

    def load() -> str:
        proxy.go_silent()
        return "loaded"

    assert cache.get(KEY, load) == "loaded"


@pytest.mark.parametrize("refusing", [full, read_only])
def test_a_redis_that_takes_no_write_serves_what_it_has_and_for_the_rest_every_reader_loads(
    cache: Cache, given: Resources, refusing: Callable[[Redis], AbstractContextManager[None]]
) -> None:
    cache.get(KEY, lambda: "old")

    with refusing(given.redis):
        assert cache.get(KEY, never) == "old"
        assert cache.get("user:2", lambda: "loaded") == "loaded"


def test_a_value_that_cannot_be_kept_because_redis_takes_no_more_writes_is_returned(
    cache: Cache, given: Resources
) -> None:
    with ExitStack() as refusing:

        def load() -> str:
            refusing.enter_context(read_only(given.redis))
            return "loaded"

        assert cache.get(KEY, load) == "loaded"


# In jobs


def test_a_job_reads_through_the_cache_and_after_a_writers_delivery_the_new_value(bank: Bank) -> None:
    user = bank.user()

    before = bank.run(*(message("testing.show_name", {"id": user}) for _ in range(3)))
    bank.run(message("testing.rename", {"id": user, "name": "Countess"}))
    (after,) = bank.run(message("testing.show_name", {"id": user}))

    assert {ending.data["text"] for ending in before} == {"Ada"}
    assert after.data["text"] == "Countess"
    assert bank.run.given.cache.counts() == Counts(hits=2, misses=2)


def test_a_job_that_locks_rows_reads_its_own_writes_and_puts_nothing_into_the_cache(bank: Bank) -> None:
    user = bank.user()

    (ending,) = bank.run(message("testing.rename", {"id": user, "name": "Countess"}))

    assert ending.data["text"] == "Countess"
    assert bank.run.given.cache.counts() == Counts(hits=0, misses=0)


def test_a_job_for_a_row_that_does_not_exist_is_rejected_beside_its_neighbours(bank: Bank) -> None:
    user = bank.user()

    there, gone = bank.run(
        message("testing.show_name", {"id": user}), message("testing.show_name", {"id": uuid4()})
    )

    assert (there.outcome, gone.data["code"]) == ("succeeded", "user_not_found")


def test_a_job_reads_through_while_redis_is_away(bank: Bank, nobody: Cache) -> None:
    bank.run.given = replace(bank.run.given, cache=nobody)

    (ending,) = bank.run(message("testing.show_name", {"id": bank.user()}))

    assert ending.data["text"] == "Ada"


def test_a_load_sees_what_was_committed_though_its_batch_has_loaded_the_row_before(bank: Bank) -> None:
    given, user = bank.run.given, bank.user()

    def name(session: Session) -> str:
        return session.get_one(User, user).name

    with given.engine.begin() as connection, Session(connection) as session:
        work = UnitOfWork(session, uuid4(), datetime.now(UTC), {}, Effects(), given)
        before = work.cached(KEY, name)
        with given.engine.begin() as other:
            other.execute(text("UPDATE users SET name = 'Countess'"))
        given.cache.forget(KEY)

        assert (before, work.cached(KEY, name)) == ("Ada", "Countess")
