"""Messages of groups, chords and chains, or with callbacks: Celery runs them, as safely as ordinary ones."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery, Signature, chain, chord, group

from tests.fixtures.jobs import Bank, Runner, message, settings_for
from tests.fixtures.nodes import StartNode, wait_for
from tests.fixtures.plain_app import plain_app
from worker.envelopes import envelope
from worker.intake.keys import Keys
from worker.operations.embedded import Stack, Urls
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

KEYS = Keys()


@pytest.fixture
def app(servers: Urls) -> Iterator[Celery]:
    with plain_app(servers) as app:
        yield app


def deposit(app: Celery, account: UUID, amount: int = 1, **options: Any) -> Signature:
    """A deposit that takes no result of another job."""
    payload = {"account": str(account), "amount": amount}
    return signature(app, "accounts.deposit", payload, **options)


def signature(app: Celery, task: str, payload: Any, queue: str = "accounts", **options: Any) -> Signature:
    return app.signature(
        task, kwargs=payload, immutable=True, options={"queue": queue, "task_id": str(uuid4()), **options}
    )


def rows(bank: Bank, *signatures: Signature) -> dict[str, Any]:
    """The ledger's rows of these that have ended, by task id."""
    ids = [one.options["task_id"] for one in signatures]
    sql = "SELECT * FROM trivet.jobs WHERE task_id = ANY(:ids) AND ended_at IS NOT NULL"
    return {row.task_id: row for row in bank.rows(sql, ids=ids)}


def outcomes(bank: Bank, *signatures: Signature) -> list[tuple[str, Any]]:
    """State and code of each, once all have ended."""
    wait_for(lambda: len(rows(bank, *signatures)) == len(signatures), 20)
    found = rows(bank, *signatures)
    return [
        (found[one.options["task_id"]].state, found[one.options["task_id"]].data.get("code")) for one in signatures
    ]


def serve_retry(bank: Bank) -> None:
    """Move a job that is tried again from the queue of its first word, which no node serves, to one of ours."""
    wait_for(lambda: bank.run.given.redis.lmove("testing", "accounts"), 10)


def held(bank: Bank) -> int:
    """How many messages any node has in hand."""
    redis: Any = bank.run.given.redis
    return sum(redis.hlen(key) for key in redis.scan_iter(KEYS.any_held))


def event_types(bank: Bank, one: Signature) -> list[str]:
    """Of the events about this job."""
    return [event["type"] for event in bank.events() if event["taskid"] == one.options["task_id"]]


# What Celery's canvas promises


def test_a_callback_is_sent_when_its_job_has_succeeded_and_an_errback_when_it_was_rejected(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery
) -> None:
    account = bank.open(0)
    start_node(servers)
    good, bad = deposit(app, account, 1), deposit(app, uuid4(), 1)
    after_good, after_bad = deposit(app, account, 10), deposit(app, account, 100)
    never = [deposit(app, account, 1_000), deposit(app, account, 10_000)]

    good.apply_async(link=after_good, link_error=never[0])
    bad.apply_async(link=never[1], link_error=after_bad)

    assert outcomes(bank, good, after_good, bad, after_bad) == [
        ("succeeded", None),
        ("succeeded", None),
        ("rejected", "account_not_found"),
        ("succeeded", None),
    ]
    wait_for(lambda: held(bank) == 0, 5)
    assert bank.balance(account) == 111


def test_a_chain_runs_in_order_and_ends_with_the_first_rejection(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery
) -> None:
    account = bank.open(0)
    start_node(servers)
    steps = [deposit(app, account) for _ in range(4)]
    broken = [deposit(app, account, 10), deposit(app, uuid4(), 10), deposit(app, account, 10)]

    chain(*steps, app=app).apply_async()
    chain(*broken, app=app).apply_async()

    assert outcomes(bank, *steps, *broken[:2]) == [("succeeded", None)] * 5 + [("rejected", "account_not_found")]
    wait_for(lambda: held(bank) == 0, 5)
    sequences = [rows(bank, one)[one.options["task_id"]].ended_at for one in steps]
    assert sequences == sorted(sequences)
    assert bank.balance(account) == 14


def test_the_body_of_a_chord_follows_when_all_of_its_group_have_succeeded(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery, tmp_path: Path
) -> None:
    account = bank.open(0)
    start_node(servers)
    members = [deposit(app, account) for _ in range(10)]
    again = signature(app, "testing.fail", {"path": str(tmp_path / "tries"), "times": 1})
    body = deposit(app, account, 100)

    chord(group([*members, again], app=app), body, app=app).apply_async()
    serve_retry(bank)

    assert outcomes(bank, *members, again, body) == [("succeeded", None)] * 12
    assert bank.balance(account) == 110


def test_a_job_that_is_tried_again_sends_its_callback_once_and_only_when_it_has_succeeded(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery, tmp_path: Path
) -> None:
    account = bank.open(0)
    start_node(servers)
    failing = signature(app, "testing.fail", {"path": str(tmp_path / "tries"), "times": 1})
    follower = deposit(app, account)

    failing.apply_async(link=follower)
    serve_retry(bank)

    assert outcomes(bank, failing, follower) == [("succeeded", None)] * 2
    first, then = rows(bank, failing), rows(bank, follower)
    assert first[failing.options["task_id"]].ended_at <= then[follower.options["task_id"]].first_seen
    assert first[failing.options["task_id"]].failures == 1


def test_a_callback_that_a_crash_kept_back_is_sent_by_the_repeat(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery, tmp_path: Path
) -> None:
    account = bank.open(0)
    once = tmp_path / "crashed"
    start_node(servers, TRIVET_CRASH_POINT="after_commit:kill", TRIVET_CRASH_ONCE=str(once))
    first, follower = deposit(app, account, 1), deposit(app, account, 10)

    first.apply_async(link=follower)

    assert outcomes(bank, first, follower) == [("succeeded", None)] * 2
    assert once.exists()
    wait_for(lambda: held(bank) == 0, 5)
    assert bank.balance(account) == 11


# What ends without an effect


def test_an_expired_one_is_rejected_and_its_errback_is_sent(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery
) -> None:
    account = bank.open(0)
    start_node(servers)
    past = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    late, told = deposit(app, account, expires=past), deposit(app, account, 10)

    late.apply_async(link=deposit(app, account, 100), link_error=told)

    assert outcomes(bank, late, told) == [("rejected", "expired"), ("succeeded", None)]
    wait_for(lambda: event_types(bank, late), 5)
    assert event_types(bank, late) == ["accounts.deposit.rejected"]
    assert bank.balance(account) == 10


def test_one_that_is_revoked_before_it_arrives_or_while_it_waits_is_rejected(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery
) -> None:
    account = bank.open(0)
    start_node(servers)
    early, waiting = deposit(app, account), deposit(app, account, countdown=2)
    others = [deposit(app, account) for _ in range(2)]

    app.control.revoke(early.options["task_id"], reply=True)
    early.apply_async(link=others[0])
    waiting.apply_async(link=others[1])
    wait_for(lambda: held(bank) == 1, 5)
    app.control.revoke(waiting.options["task_id"], reply=True)

    assert outcomes(bank, early, waiting) == [("rejected", "revoked")] * 2
    wait_for(lambda: event_types(bank, waiting), 5)
    assert event_types(bank, early) == event_types(bank, waiting) == ["accounts.deposit.rejected"]
    assert bank.balance(account) == 0


def test_one_that_is_terminated_while_it_runs_is_rejected_as_revoked(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery
) -> None:
    account = bank.open(0)
    start_node(servers)
    endless = signature(app, "testing.think", {"seconds": 60}, queue="maintenance")

    endless.apply_async(link=deposit(app, account))
    wait_for(lambda: running(bank) == {"0"}, 10)
    app.control.revoke(endless.options["task_id"], terminate=True, reply=True)

    assert outcomes(bank, endless) == [("rejected", "revoked")]
    assert bank.balance(account) == 0


def running(bank: Bank) -> set[str]:
    """The marks of what any node runs."""
    redis: Any = bank.run.given.redis
    return {mark.decode() for key in redis.scan_iter("trivet:running:*") for mark in redis.hvals(key)}


@pytest.mark.parametrize("how", ["kill", "time limit"])
def test_one_that_kills_its_process_is_parked_after_three_deaths_and_harms_no_neighbour(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery, tmp_path: Path, how: str
) -> None:
    account = bank.open(0)
    node = start_node(servers)
    deaths = tmp_path / "deaths"
    if how == "kill":
        deadly = signature(app, "testing.kill", {"path": str(deaths), "times": 1_000_000})
    else:
        deadly = signature(app, "testing.think", {"seconds": 60}, time_limit=0.5)
    neighbours = [deposit(app, account) for _ in range(50)]

    deadly.apply_async(link=deposit(app, account, 1_000))
    group(neighbours, app=app).apply_async()

    assert outcomes(bank, deadly, *neighbours) == [("parked", "poison")] + [("succeeded", None)] * 50
    assert how != "kill" or deaths.stat().st_size == 3
    wait_for(lambda: held(bank) == 0, 5)
    assert bank.balance(account) == 50
    assert bank.run.given.redis.hlen(KEYS.suspects) == 0
    assert node.stop() == 0


# Many, and trouble meanwhile


def test_a_thousand_do_not_exceed_the_room(bank: Bank, start_node: StartNode, servers: Urls, app: Celery) -> None:
    account = bank.open(0)
    room = 2 * 20 * 2  # twice the largest batch, for each pool process
    jobs = [deposit(app, account) for _ in range(1_000)]
    group(jobs, app=app).apply_async()

    node = start_node(servers, TRIVET_BATCH_MAX="20")
    most = [0]

    def all_ended() -> bool:
        most.append(held(bank))
        return bool(bank.balance(account) == len(jobs))

    wait_for(all_ended, 60)
    assert 0 < max(most) <= room
    assert set(outcomes(bank, *jobs)) == {("succeeded", None)}
    assert node.stop() == 0


def have_ended(bank: Bank, jobs: list[Signature], count: int) -> bool:
    return len(rows(bank, *jobs)) >= count


def test_a_consumer_that_begins_again_loses_none_and_runs_none_twice_at_once(
    bank: Bank, start_node: StartNode, servers: Urls, app: Celery
) -> None:
    account = bank.open(0)
    jobs = [deposit(app, account) for _ in range(300)]
    later = [deposit(app, account, countdown=3) for _ in range(20)]
    node = start_node(servers, TRIVET_BATCH_MAX="20", TRIVET_LEASE_S="60")
    group([*jobs, *later], app=app).apply_async()

    redis: Any = bank.run.given.redis
    for share in (20, 80, 160):
        wait_for(partial(have_ended, bank, jobs, share), 20, node.log)
        for kind in ("normal", "pubsub"):
            redis.execute_command("CLIENT", "KILL", "TYPE", kind)

    assert outcomes(bank, *jobs, *later) == [("succeeded", None)] * 320
    wait_for(lambda: held(bank) == 0, 5)  # long before the lease ends
    assert bank.balance(account) == 320
    assert node.stop() == 0


@pytest.mark.parametrize("headers", [{"eta": [7]}, {"retries": "many", "eta": "soon"}], ids=["list", "no time"])
def test_what_celery_cannot_read_is_parked(
    bank: Bank, start_node: StartNode, servers: Urls, headers: dict[str, Any]
) -> None:
    start_node(servers)
    broken = message("accounts.deposit", {"account": uuid4(), "amount": 1})
    element = json.loads(envelope(broken))
    element["headers"] |= {"group": "g", **headers}

    bank.run.given.redis.lpush("accounts", json.dumps(element))

    sql = "SELECT state, data->>'code' FROM trivet.jobs WHERE ended_at IS NOT NULL AND task_id = :id"
    wait_for(lambda: bank.rows(sql, id=broken.task_id), 10)
    assert bank.rows(sql, id=broken.task_id) == [("parked", "unreadable")]


def test_while_postgresql_is_away_one_waits_in_its_queue_and_no_death_is_counted(
    own_bank: Bank, own_servers: Stack, start_node: StartNode
) -> None:
    account = own_bank.open(0)
    node = start_node(own_servers.urls)
    with plain_app(own_servers.urls) as app:
        one, follower = deposit(app, account, time_limit=2), deposit(app, account, 10)

        own_servers.postgres.kill()
        one.apply_async(link=follower)
        wait_for(lambda: node.log.read_text().count("store.away") >= 6, 20)
        suspects = own_bank.run.given.redis.hlen(KEYS.suspects)
        own_servers.postgres.start()

        assert outcomes(own_bank, one, follower) == [("succeeded", None)] * 2
    assert suspects == 0
    assert node.stop() == 0


@pytest.fixture
def own_bank(own_servers: Stack) -> Iterator[Bank]:
    """A bank on servers that the test may kill."""
    with Resources.open(settings_for(own_servers.urls)) as given:
        migrate(given)
        bank = Bank(Runner(given))
        yield bank
        bank.run.node.close()


def test_a_soft_time_limit_that_passes_while_postgresql_is_away_loses_no_job(
    own_bank: Bank, own_servers: Stack, start_node: StartNode
) -> None:
    account = own_bank.open(0)
    node = start_node(own_servers.urls, concurrency=1)
    with plain_app(own_servers.urls) as app:
        limited = [deposit(app, account, soft_time_limit=limit_s) for limit_s in (0.3, 0.4, 1)]
        follower = deposit(app, account, 10)

        own_servers.postgres.kill()
        for one in limited:
            one.apply_async(link=follower)
        time.sleep(3)  # longer than each of the limits
        own_servers.postgres.start()
        wait_for(lambda: len(rows(own_bank, *limited)) == len(limited), 30, node.log)

        assert outcomes(own_bank, *limited) == [("succeeded", None)] * 3
    assert node.stop() == 0
