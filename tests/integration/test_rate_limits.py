"""Rate limits: exactly so many in any window, on Redis' clock, whoever asks and however often."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from tests.fixtures.poor_redis import full, read_only
from worker import producer
from worker.errors import StoreUnavailable
from worker.rate_limits import Allowance, check_rate_limit
from worker.settings import Settings
from worker.stores.limits import CHUNK, RateLimit, count, give_back
from worker.stores.resources import Resources

KEY = "mail/1"


@pytest.fixture
def redis(given: Resources) -> Redis:
    return given.redis


def now_us(redis: Redis) -> int:
    """Redis' own clock."""
    seconds, microseconds = redis.time()
    return int(seconds) * 1_000_000 + int(microseconds)


def log(window_s: float) -> str:
    return RateLimit(1, window_s, KEY).log(KEY)


def test_as_many_as_the_limit_are_allowed_and_it_is_told_how_many_remain(redis: Redis) -> None:
    allowances = [check_rate_limit(KEY, 3, 900, redis=redis) for _ in range(5)]

    assert [allowance.allowed for allowance in allowances] == [True, True, True, False, False]
    assert [allowance.remaining for allowance in allowances] == [2, 1, 0, 0, 0]
    assert {allowance.retry_after_s for allowance in allowances[:3]} == {0}
    assert all(899 < allowance.retry_after_s <= 900 for allowance in allowances[3:])


def test_each_key_and_each_window_is_counted_by_itself(redis: Redis) -> None:
    assert check_rate_limit(KEY, 1, 900, redis=redis).allowed
    assert check_rate_limit(KEY, 1, 60, redis=redis).allowed
    assert check_rate_limit("mail/2", 1, 900, redis=redis).allowed

    assert not check_rate_limit(KEY, 1, 900, redis=redis).allowed


def test_an_event_that_is_asked_for_again_costs_nothing(redis: Redis) -> None:
    first, again = (check_rate_limit(KEY, 2, 900, event_id="order-42", redis=redis) for _ in range(2))

    assert (first, again) == (Allowance(True, 1, 0), Allowance(True, 1, 0))


def test_an_event_that_did_not_happen_gives_its_place_back(redis: Redis) -> None:
    limit = RateLimit(1, 900, KEY)
    count(redis, limit, [(KEY, "a")])

    give_back(redis, limit, [(KEY, "a")])

    assert count(redis, limit, [(KEY, "b")]) == [Allowance(True, 0, 0)]


def test_the_next_is_allowed_when_the_oldest_has_left_the_window_and_not_before(redis: Redis) -> None:
    check_rate_limit(KEY, 2, 0.3, event_id="oldest", redis=redis)
    check_rate_limit(KEY, 2, 0.3, event_id="newest", redis=redis)
    leaves_us = int(redis.zscore(log(0.3), "oldest") or 0) + 300_000

    refusals = 0
    while True:
        asked_us = now_us(redis)
        allowance = check_rate_limit(KEY, 2, 0.3, redis=redis)
        told_us = now_us(redis)
        if allowance.allowed:
            break
        refusals += 1
        assert asked_us < leaves_us
        assert asked_us <= leaves_us - round(allowance.retry_after_s * 1e6) <= told_us

    assert refusals > 0
    assert told_us >= leaves_us


def test_in_no_window_wherever_it_begins_are_more_than_the_limit(redis: Redis) -> None:
    limit, window_s = 5, 0.05
    times_us: list[int] = []

    while len(times_us) < 60:
        event_id = uuid4().hex
        if check_rate_limit(KEY, limit, window_s, event_id=event_id, redis=redis).allowed:
            times_us.append(int(redis.zscore(log(window_s), event_id) or 0))

    assert all(later - earlier >= 50_000 for earlier, later in zip(times_us, times_us[limit:], strict=False))
    assert all(earlier < later for earlier, later in pairwise(times_us))


def test_a_limit_that_was_lowered_waits_until_enough_have_left(redis: Redis) -> None:
    for _ in range(5):
        check_rate_limit(KEY, 5, 900, redis=redis)
    entries: Any = redis.zrange(log(900), 0, -1, withscores=True)
    times_us = [int(score) for _, score in entries]

    asked_us = now_us(redis)
    allowance = check_rate_limit(KEY, 2, 900, redis=redis)
    told_us = now_us(redis)

    assert (allowance.allowed, allowance.remaining) == (False, 0)
    fourth_leaves_us = times_us[3] + 900_000_000
    assert asked_us <= fourth_leaves_us - round(allowance.retry_after_s * 1e6) <= told_us


def test_50_threads_that_ask_200_times_at_once_are_allowed_exactly_100(redis: Redis) -> None:
    with ThreadPoolExecutor(50) as threads:
        allowances = list(threads.map(lambda _: check_rate_limit(KEY, redis=redis), range(200)))

    assert sum(allowance.allowed for allowance in allowances) == 100
    assert redis.zcard(log(900)) == 100


def test_a_log_holds_no_more_than_the_limit_and_goes_with_its_window(redis: Redis) -> None:
    for _ in range(10):
        check_rate_limit(KEY, 3, 900, redis=redis)

    assert redis.keys("*") == [log(900).encode()]
    assert redis.zcard(log(900)) == 3
    assert 899_000 < int(redis.pttl(log(900))) <= 900_001


def test_events_of_many_keys_are_counted_in_order_in_one_go(redis: Redis) -> None:
    events = [(str(number % 7), str(number)) for number in range(2 * CHUNK + 1)]

    allowances = count(redis, RateLimit(2, 900, "{n}"), events)

    assert [number for number, allowance in enumerate(allowances) if allowance.allowed] == list(range(14))


@pytest.mark.parametrize(("limit", "window_s"), [(0, 900), (-1, 900), (1, 0), (1, -1)])
def test_a_limit_that_allows_nothing_is_an_error(limit: int, window_s: float) -> None:
    with pytest.raises(ValueError, match="at least 1 event"):
        RateLimit(limit, window_s, KEY)


def test_without_redis_the_caller_is_told(no_redis: Redis) -> None:
    with pytest.raises(StoreUnavailable, match="Redis"):
        check_rate_limit(KEY, redis=no_redis)


def test_a_full_redis_still_counts(redis: Redis) -> None:
    with full(redis):
        assert [check_rate_limit(KEY, 1, redis=redis).allowed for _ in range(2)] == [True, False]


def test_a_redis_that_takes_no_write_counts_as_away(redis: Redis) -> None:
    with read_only(redis), pytest.raises(StoreUnavailable, match="READONLY"):
        check_rate_limit(KEY, redis=redis)


@pytest.fixture
def environment(settings: Settings, given: Resources, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a service that enqueues has in its environment."""
    monkeypatch.setenv("TRIVET_REDIS_URL", settings.redis_url.get_secret_value())
    producer.close()
    yield
    producer.close()


@pytest.mark.usefixtures("environment")
def test_a_producer_needs_no_client_of_its_own() -> None:
    assert check_rate_limit(KEY) == Allowance(True, 99, 0)
