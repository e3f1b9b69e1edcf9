import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis import Redis

from tests.fixtures.jobs import Bank, message, settings_for
from tests.fixtures.nodes import wait_for
from worker import Event, Gap, Subscriber
from worker.delivery.events import completion_event, with_sequence
from worker.errors import Outcome, StoreUnavailable, WrongSettings
from worker.execution.appending import append_again
from worker.operations.embedded import Stack, Urls
from worker.stores.redis import open_redis
from worker.stores.resources import Resources

KEYS = ("events", "trivet:turns")


def deposits(bank: Bank, account: UUID, count: int) -> None:
    bank.run(*(message("accounts.deposit", {"account": account, "amount": 1}) for _ in range(count)))


def all_of(redis: Redis | str, position: str = "0", **options: Any) -> list[Event]:
    """What a new subscriber gets, up to the end of the stream."""
    with Subscriber(redis, position, follow=False, **options) as events:
        return list(events)


def ids(events: list[Event]) -> list[str]:
    return [str(event.id) for event in events]


def published(bank: Bank) -> list[str]:
    """The ids in the stream, each at its first place."""
    return list(dict.fromkeys(event["id"] for event in bank.events()))


def repeat_all(bank: Bank) -> None:
    """Append every entry once more."""
    entries: Any = bank.run.given.redis.xrange("events")
    for _, fields in entries:
        bank.run.given.redis.xadd("events", fields)


@dataclass
class Follower:
    """A subscriber in a thread of its own: what it has got so far, and what ended it."""

    events: Subscriber
    got: list[Event] = field(default_factory=list)
    ended_by: Exception | None = None

    def follow(self) -> None:
        try:
            for event in self.events:
                self.got.append(event)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.ended_by = error


@contextmanager
def following(url: str, position: str = "0", **options: Any) -> Iterator[Follower]:
    with Subscriber(url, position, **options) as events:
        follower = Follower(events)
        thread = threading.Thread(target=follower.follow)
        thread.start()
        try:
            yield follower
        finally:
            events.stop()
            thread.join(10)
            assert not thread.is_alive()


def test_a_subscriber_gets_each_event_once_in_the_order_of_the_stream(bank: Bank, servers: Urls) -> None:
    account = bank.open(5)
    deposits(bank, account, 3)
    repeat_all(bank)

    got = all_of(servers.redis)

    assert ids(got) == published(bank)
    assert (got[-1].task, got[-1].outcome) == ("accounts.deposit", Outcome.SUCCEEDED)
    assert got[-1].data == {"account": str(account), "balance": 8}
    assert got[-1].subject == f"accounts/{account}"


def test_a_new_subscriber_goes_on_behind_the_saved_position_and_knows_what_came_before(
    bank: Bank, servers: Urls
) -> None:
    account = bank.open()
    deposits(bank, account, 5)
    before = all_of(servers.redis)
    repeat_all(bank)
    deposits(bank, account, 2)

    for handled in range(1, len(before) + 1):
        assert ids(all_of(servers.redis, before[handled - 1].position)) == published(bank)[handled:]


def test_a_subscriber_gets_only_the_types_that_it_asked_for_and_tells_how_far_it_has_come(
    bank: Bank, servers: Urls
) -> None:
    bank.open_many(3, 0)
    passed: list[str] = []

    got = all_of(servers.redis, types="users.*", passed=passed.append)

    assert [event.type for event in got] == ["users.create.succeeded"]
    newest: Any = bank.run.given.redis.xrevrange("events", count=1)
    assert passed == [newest[0][0].decode()]


def test_a_follower_gets_what_comes_later_and_one_that_begins_at_the_end_nothing_else(
    bank: Bank, servers: Urls
) -> None:
    account = bank.open()
    known = len(published(bank))

    with following(servers.redis) as every, following(servers.redis, "$") as new:
        wait_for(lambda: len(every.got) == known and new.events.position != "$")
        deposits(bank, account, 3)
        wait_for(lambda: len(new.got) == 3 and len(every.got) == known + 3)

    assert ids(every.got) == published(bank)
    assert ids(new.got) == published(bank)[known:]


def test_a_position_that_was_trimmed_away_is_a_gap_and_one_at_the_edge_is_none(bank: Bank, servers: Urls) -> None:
    deposits(bank, bank.open(), 6)
    events = all_of(servers.redis)

    bank.run.given.redis.xtrim("events", maxlen=3, approximate=False)

    assert ids(all_of(servers.redis, events[-3].position)) == ids(events[-2:])
    with pytest.raises(Gap, match=events[-4].position):
        all_of(servers.redis, events[-4].position)


def test_a_follower_that_is_too_slow_for_the_stream_is_told_so(bank: Bank, servers: Urls) -> None:
    account = bank.open()
    subscriber = Subscriber(servers.redis)
    events = iter(subscriber)
    next(events)

    for _ in range(3):
        deposits(bank, account, 2)
        bank.run.given.redis.xtrim("events", maxlen=1, approximate=False)

    with pytest.raises(Gap), subscriber:
        list(events)


def test_a_follower_gets_each_event_once_though_redis_loses_its_data(bank: Bank, servers: Urls) -> None:
    account = bank.open()
    redis = bank.run.given.redis

    with following(servers.redis) as follower:
        for _ in range(3):
            deposits(bank, account, 3)
            wait_for(lambda: ids(follower.got)[-1:] == published(bank)[-1:])
            redis.flushall()
            deposits(bank, account, 1)
            append_again(bank.run.given)
            bank.deliver_all()
        wait_for(lambda: len(follower.got) >= len(published(bank)))

    assert follower.ended_by is None
    assert ids(follower.got) == published(bank)


def test_a_follower_gets_each_event_once_though_redis_comes_back_with_an_older_state(
    bank: Bank, servers: Urls
) -> None:
    account = bank.open()
    redis = bank.run.given.redis

    with following(servers.redis) as follower:
        kept = {key: redis.dump(key) or b"" for key in KEYS}
        deposits(bank, account, 3)
        wait_for(lambda: ids(follower.got) == published(bank))
        with redis.pipeline(transaction=True) as pipe:
            pipe.flushall()
            for key, value in kept.items():
                pipe.restore(key, 0, value)
            pipe.execute()
        append_again(bank.run.given)
        deposits(bank, account, 1)
        wait_for(lambda: len(follower.got) >= len(published(bank)))

    assert follower.ended_by is None
    assert ids(follower.got) == published(bank)


def test_a_position_from_before_a_loss_is_a_gap(bank: Bank, servers: Urls) -> None:
    deposits(bank, bank.open(), 2)
    position = all_of(servers.redis)[-1].position

    bank.run.given.redis.flushall()
    with pytest.raises(Gap):
        all_of(servers.redis, position)
    append_again(bank.run.given)

    with pytest.raises(Gap):
        all_of(servers.redis, position)
    assert ids(all_of(servers.redis)) == published(bank)


def test_what_is_no_event_is_passed_over(bank: Bank, servers: Urls) -> None:
    redis = bank.run.given.redis
    for text in ("no json", "[1]", '{"id": 1}', '{"id": "x"}'):
        redis.xadd("events", {"event": text})
    redis.xadd("events", {"another": "field"})
    deposits(bank, bank.open(), 1)

    assert len(all_of(servers.redis)) == 3


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
def test_any_client_of_redis_will_do(bank: Bank, servers: Urls, protocol: int, *, decode: bool) -> None:
    deposits(bank, bank.open(), 2)

    with Redis.from_url(servers.redis, protocol=protocol, decode_responses=decode) as redis:
        first, *_ = all_of(redis)
        assert ids(all_of(redis, first.position)) == published(bank)[1:]


def test_a_follower_waits_while_redis_is_away(own_servers: Stack) -> None:
    event = completion_event(
        kind="accounts.open.succeeded", subject="s", time=datetime.now(UTC), data=None, job_id=uuid4(), task_id="t"
    )
    with following(own_servers.urls.redis) as follower:
        own_servers.redis.kill()
        own_servers.redis.start()
        with open_redis(settings_for(own_servers.urls)) as redis:
            redis.xadd("events", {"event": with_sequence(event, 1)})
        wait_for(lambda: len(follower.got) == 1)

    assert follower.ended_by is None


def test_patience_ends_and_a_refusal_is_told_at_once(servers: Urls) -> None:
    with pytest.raises(StoreUnavailable):
        all_of("redis://127.0.0.1:1/0", patience_s=0.2)
    with pytest.raises(StoreUnavailable, match=r"AUTH|invalid"):
        all_of(servers.redis.replace("redis://", "redis://nobody:wrong@"))


def test_a_url_that_is_none_is_refused_and_not_told() -> None:
    with pytest.raises(WrongSettings) as refused:
        Subscriber("http://user:secret@host")

    assert "secret" not in str(refused.value)


def test_without_following_the_end_is_that_of_the_stream_also_after_a_loss(
    bank: Bank, given: Resources, servers: Urls
) -> None:
    account = bank.open()
    deposits(bank, account, 3)
    with Subscriber(servers.redis, follow=False) as subscriber:
        events = iter(subscriber)
        seen = [next(events).id for _ in bank.events()]
        given.redis.flushall()
        append_again(given)
        deposits(bank, account, 2)
        rest = [event.id for event in events]

    assert len(rest) == 2
    assert not {*seen} & {*rest}
