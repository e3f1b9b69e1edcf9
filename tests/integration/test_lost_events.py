import threading
from collections import Counter
from typing import Any

import pytest

from tests.fixtures.jobs import Bank, message, settings_for
from worker.delivery import stream
from worker.delivery.outbox import SHARDS, Lane
from worker.delivery.shards import lock_every_shard
from worker.delivery.turn import deliver
from worker.execution.appending import append_again, has_lost
from worker.execution.job import JOBS
from worker.operations.embedded import Urls
from worker.stores.resources import Resources

KEYS = ("events", "trivet:turns")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def deposits(bank: Bank, account: Any, count: int) -> None:
    """So many jobs of one subject, in turns of their own."""
    for _ in range(count):
        bank.run(message("accounts.deposit", {"account": account, "amount": 1}))


def times(bank: Bank) -> set[int]:
    """How often the ids of events are in the stream."""
    return set(Counter(event["id"] for event in bank.events()).values())


def state(given: Resources) -> dict[str, bytes]:
    """Stream and turns as they are now, as an older AOF may bring them back."""
    return {key: given.redis.dump(key) or b"" for key in KEYS}


def bring_back(given: Resources, kept: dict[str, bytes]) -> None:
    given.redis.flushall()
    for key, value in kept.items():
        given.redis.restore(key, 0, value)


def test_after_a_flushall_the_event_of_every_ended_job_is_in_the_stream_once_as_it_was(
    bank: Bank, given: Resources
) -> None:
    account = bank.open(5)
    bank.run(
        message("users.create", {"name": "Ada", "email": "ada@example.org"}, traceparent=TRACE),
        message("accounts.transfer", {"source": account, "target": account, "amount": 1}, "no-uuid"),
    )
    deposits(bank, account, 3)
    before = bank.events()

    given.redis.flushall()
    assert append_again(given)

    assert bank.events() == before
    assert {event["traceparent"] for event in before if "traceparent" in event} == {TRACE}
    assert not has_lost(given)


def test_nothing_new_gets_into_the_stream_before_what_was_lost(bank: Bank, given: Resources) -> None:
    account = bank.open()
    deposits(bank, account, 2)

    given.redis.flushall()
    deposits(bank, account, 1)
    held_back = bank.events()
    append_again(given)
    bank.deliver_all()

    assert held_back == []
    bank.check()
    assert times(bank) == {1}


def test_a_redis_that_comes_back_with_an_older_state_gets_what_it_lacks_and_no_more(
    bank: Bank, given: Resources
) -> None:
    account, other = bank.open(), bank.open()
    deposits(bank, account, 3)
    kept = state(given)
    deposits(bank, account, 2)
    deposits(bank, other, 2)
    before = bank.events()

    bring_back(given, kept)
    assert has_lost(given)
    append_again(given)

    assert bank.events() == before
    bank.check()


def test_what_is_still_owed_comes_by_itself_and_once(bank: Bank, given: Resources) -> None:
    account = bank.open()
    deposits(bank, account, 2)
    bank.run.node.rest(Lane.DOCUMENTS, 60)
    deposits(bank, account, 2)

    given.redis.flushall()
    append_again(given)
    again = len(bank.events())
    bank.run.node.rest(Lane.DOCUMENTS, 0)
    bank.deliver_all()

    assert len(bank.events()) == again + 2
    bank.check()
    assert times(bank) == {1}


def test_a_redis_that_was_never_written_to_has_lost_nothing(given: Resources) -> None:
    assert not has_lost(given)


def test_a_turn_that_was_published_and_not_committed_is_no_loss(bank: Bank, given: Resources) -> None:
    account = bank.open()
    given.redis.hincrby("trivet:turns", "7", 1)

    deposits(bank, account, 3)

    assert not has_lost(given)
    bank.check()


def test_a_loss_in_the_middle_of_appending_again_is_noticed_and_mended(bank: Bank, given: Resources) -> None:
    account = bank.open()
    deposits(bank, account, 2)
    before = bank.events()
    given.redis.flushall()

    recovery = stream.Recovery.begin(given.redis, 1_000)
    given.redis.flushall()

    assert not recovery.append([(1, "{}")])
    assert not recovery.finish([0] * SHARDS)
    assert append_again(given)
    assert bank.events() == before


def test_many_who_notice_at_once_append_once(bank: Bank, given: Resources) -> None:
    account = bank.open()
    deposits(bank, account, 5)
    before = bank.events()
    given.redis.flushall()

    threads = [threading.Thread(target=append_again, args=(given,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert append_again(given)
    assert bank.events() == before


def test_while_events_are_appended_again_no_turn_is_taken(bank: Bank, given: Resources) -> None:
    account = bank.open()
    with given.engine.begin() as connection:
        assert lock_every_shard(connection)
        bank.run.node.mark(range(SHARDS))
        turn = deliver(given, bank.run.node)

    assert turn.busy == set(range(SHARDS))
    deposits(bank, account, 1)
    bank.check()


def test_no_more_is_appended_again_than_the_stream_would_keep(servers: Urls, bank: Bank) -> None:
    account = bank.open()
    deposits(bank, account, 6)
    before = bank.events()
    bank.run.given.redis.flushall()

    with Resources.open(settings_for(servers, events_maxlen=4)) as short:
        append_again(short)

    assert bank.events() == before[-4:]


def test_what_was_trimmed_away_is_not_appended_again(bank: Bank, given: Resources) -> None:
    account = bank.open()
    deposits(bank, account, 4)
    given.redis.xtrim("events", maxlen=3, approximate=False)
    kept = state(given)
    deposits(bank, account, 2)
    before = bank.events()

    bring_back(given, kept)
    append_again(given)

    assert bank.events() == before


def test_the_result_of_a_task_that_nobody_knows_any_more_is_not_told(
    bank: Bank, given: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.run(message("testing.answer", {"length": 3}))
    given.redis.flushall()

    monkeypatch.delitem(JOBS, "testing.answer")
    append_again(given)

    assert [event["data"] for event in bank.events()] == [None]
