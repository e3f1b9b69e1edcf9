"""Jobs that wait in the ledger are sent once, and once more only when Redis has lost them."""

import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import text

from tests.fixtures.amounts import TIMES
from tests.fixtures.jobs import Bank, settings_for
from tests.fixtures.nodes import wait_for
from tests.fixtures.sql import enqueue
from worker.crash_points import SEND_POINTS, CrashedOnPurpose
from worker.delivery.duty import STALE_S, Duty
from worker.errors import StoreUnavailable
from worker.execution.resending import FULL_AGAIN_S, IS_DUE, SEND_BYTES, SEND_MAX, send_due
from worker.execution.sends import COUNTER, note_loss
from worker.intake.elements import read_element
from worker.messages import Message
from worker.operations.embedded import Urls
from worker.stores.resources import Resources

HOUR = 20_000 * TIMES
"""Jobs that one hour leaves in a queue: 100,000 in `make faults`."""


def accept(bank: Bank, count: int, task: str = "testing.answer") -> list[UUID]:
    """Enqueue so many jobs by SQL."""
    statement = text(
        "SELECT trivet.enqueue(:task, jsonb_build_object('length', number))"
        " FROM generate_series(1, cast(:count AS integer)) AS number"
    )
    jobs: list[UUID] = []
    while (left := count - len(jobs)) > 0:
        with bank.run.given.engine.begin() as connection:
            jobs += connection.execute(statement, {"task": task, "count": min(left, 2_000)}).scalars()
    return jobs


def send_all(bank: Bank) -> int:
    """Send until nothing more goes out; returns how many went."""
    total = 0
    while sent := send_due(bank.run.given):
        total += sent
    return total


def look(bank: Bank) -> int:
    """What a node does when it looks whether Redis lost anything, and then sends; returns how many went."""
    note_loss(bank.run.given)
    while (sent := send_all(bank)) == 0 and is_due_now(bank):
        pass  # the first turn after a loss has made jobs due, and the last one forgets the loss
    return sent


def is_due_now(bank: Bank) -> bool:
    return bool(bank.value(IS_DUE))


def waiting(bank: Bank, queue: str = "testing") -> list[Message]:
    """What is in the queue, in the order in which a node takes it."""
    elements: Any = bank.run.given.redis.lrange(queue, 0, -1)
    return [read_element(raw).message for raw in reversed(elements)]


def ids(messages: Sequence[Message]) -> set[UUID]:
    return {UUID(one.task_id) for one in messages}


def numbers(bank: Bank) -> list[int]:
    return [row.sent for row in bank.rows("SELECT sent FROM trivet.jobs WHERE sent IS NOT NULL ORDER BY sent")]


@pytest.mark.generated
def test_an_hour_of_queue_is_not_sent_twice(bank: Bank) -> None:
    accept(bank, HOUR)

    first = send_all(bank)
    second = look(bank)

    assert (first, second, is_due_now(bank)) == (HOUR, 0, False)
    assert bank.run.given.redis.llen("testing") == HOUR
    assert numbers(bank) == list(range(1, HOUR + 1))


def test_an_emptied_redis_gets_everything_that_has_not_ended_once_more(bank: Bank) -> None:
    jobs = accept(bank, SEND_MAX + 50)
    send_all(bank)
    done = waiting(bank)[:20]
    bank.run(*done)

    bank.run.given.redis.flushall()
    again = look(bank)

    assert again == len(jobs) - len(done)
    assert ids(waiting(bank)) == set(jobs) - ids(done)
    assert (look(bank), is_due_now(bank)) == (0, False)


def test_an_older_redis_gets_just_what_it_had_not_heard_of(bank: Bank) -> None:
    redis = bank.run.given.redis
    accept(bank, 30)
    send_all(bank)
    older: Any = redis.dump("testing"), redis.dump(COUNTER)
    newer = accept(bank, 20)
    send_all(bank)

    redis.flushall()
    redis.restore("testing", 0, older[0])
    redis.restore(COUNTER, 0, older[1])
    again = look(bank)

    assert again == 20
    assert ids(waiting(bank)[30:]) == set(newer)
    assert len(waiting(bank)) == 50


def test_a_redis_that_loses_its_data_once_more_meanwhile_gets_all_that_is_lost(bank: Bank) -> None:
    redis = bank.run.given.redis
    jobs = accept(bank, 3 * SEND_MAX)
    send_all(bank)

    redis.flushall()
    note_loss(bank.run.given)
    send_due(bank.run.given)
    redis.flushall()
    look(bank)

    assert ids(waiting(bank)) == set(jobs)
    assert len(waiting(bank)) == len(jobs)


def test_nothing_new_is_sent_before_a_loss_is_known(bank: Bank) -> None:
    old = accept(bank, 5)
    send_all(bank)
    bank.run.given.redis.flushall()
    new = accept(bank, 5)

    assert send_due(bank.run.given) == 0
    assert waiting(bank) == []
    look(bank)
    assert ids(waiting(bank)) == {*old, *new}


def test_a_lost_job_that_runs_just_now_is_not_sent_again_and_one_whose_run_was_undone_is(bank: Bank) -> None:
    ends, comes_back = accept(bank, 2)
    send_all(bank)
    messages = {UUID(one.task_id): one for one in waiting(bank)}
    bank.run.given.redis.flushall()

    with bank.run.given.engine.connect() as running:  # a batch that holds both, and dies with one
        running.execute(text("SELECT 1 FROM trivet.jobs FOR UPDATE"))
        while_running = look_once(bank)
        still_lost = is_due_now(bank)
    bank.run(messages[ends])
    look(bank)

    assert (while_running, still_lost) == (0, True)
    assert ids(waiting(bank)) == {comes_back}
    assert not is_due_now(bank)


def look_once(bank: Bank) -> int:
    note_loss(bank.run.given)
    return send_due(bank.run.given)


def test_a_retry_that_waits_for_its_time_is_not_sent_early_because_redis_lost_its_data(bank: Bank) -> None:
    job = accept(bank, 1)
    send_all(bank)
    bank.rows("UPDATE trivet.jobs SET state = 'retrying', due_at = now() + interval '1 h' RETURNING 1")

    bank.run.given.redis.flushall()

    assert (look(bank), len(job)) == (0, 1)


@pytest.mark.parametrize("point", SEND_POINTS)
def test_a_crash_between_the_push_and_the_commit_sends_twice_and_never_not_at_all(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, point: str
) -> None:
    jobs = accept(bank, 3)
    monkeypatch.setenv("TRIVET_CRASH_POINT", f"{point}:raise")
    monkeypatch.setenv("TRIVET_CRASH_ONCE", str(tmp_path / "once"))

    with pytest.raises(CrashedOnPurpose):
        send_due(bank.run.given)

    assert send_all(bank) == 3
    assert [ids(waiting(bank)[:3]), ids(waiting(bank)[3:])] == [set(jobs)] * 2
    assert (look(bank), numbers(bank)) == (0, [4, 5, 6])


def test_many_who_send_at_once_send_each_job_once(bank: Bank) -> None:
    jobs = accept(bank, 4 * SEND_MAX)

    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(send_due, bank.run.given) for _ in range(12)]
    total = sum(one.result() for one in rounds) + send_all(bank)

    assert total == len(jobs) == len(waiting(bank))
    assert ids(waiting(bank)) == set(jobs)


def test_a_job_goes_out_as_soon_as_it_is_the_longest_due(bank: Bank) -> None:
    first, second, third = (accept(bank, 1)[0] for _ in range(3))

    send_all(bank)

    assert [UUID(one.task_id) for one in waiting(bank)] == [first, second, third]


def test_large_jobs_go_out_a_few_at_a_time(bank: Bank) -> None:
    size = 200_000
    with bank.run.given.engine.begin() as connection:
        for _ in range(30):
            enqueue(connection, "testing.answer", {"text": "x" * size})

    first = send_due(bank.run.given)

    assert first * size < SEND_BYTES + size < 30 * size
    assert first + send_all(bank) == 30


def test_a_queue_that_is_full_is_not_filled_further_and_holds_up_no_other(bank: Bank, servers: Urls) -> None:
    accept(bank, 15)
    other = accept(bank, 1, "accounts.deposit")

    with Resources.open(settings_for(servers, queue_max=10)) as modest:
        sent = send_due(modest)

    assert (sent, len(waiting(bank)), ids(waiting(bank, "accounts"))) == (11, 10, set(other))
    rest = bank.rows("SELECT due_at - now() AS due_in FROM trivet.jobs WHERE due_at IS NOT NULL")
    assert len(rest) == 5
    assert all(timedelta(0) < row.due_in <= timedelta(seconds=FULL_AGAIN_S) for row in rest)


def test_a_key_of_another_type_in_a_queues_place_holds_up_no_other(bank: Bank) -> None:
    accept(bank, 2)
    other = accept(bank, 2, "accounts.deposit")
    bank.run.given.redis.set("testing", "no list")

    assert send_due(bank.run.given) == 2
    assert ids(waiting(bank, "accounts")) == set(other)
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE due_at > now()") == 2


def test_while_redis_refuses_writes_jobs_stay_due(bank: Bank) -> None:
    jobs, redis = accept(bank, 3), bank.run.given.redis
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable):
            send_due(bank.run.given)
    finally:
        redis.config_set("maxmemory", 0)

    assert is_due_now(bank)
    assert (send_all(bank), ids(waiting(bank))) == (3, set(jobs))


def test_looking_for_what_is_due_reads_no_more_for_many_that_wait(bank: Bank) -> None:
    accept(bank, 20_000)
    bank.rows("UPDATE trivet.jobs SET due_at = now() + interval '1 h' RETURNING 1")
    with bank.run.given.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE trivet.jobs"))
        plan = connection.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {IS_DUE}")).scalar_one()

    told = orjson.dumps(plan).decode()
    assert "jobs_due_idx" in told
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 20


def keep(duty: Duty, held: Event) -> None:
    """Do a duty for ever, as a pool process does."""
    while True:
        if duty.mine():
            held.set()
        time.sleep(0.05)


def test_a_duty_is_taken_over_from_a_frozen_process_and_given_back_when_it_goes_on() -> None:
    duty, fork = Duty(), get_context("fork")
    held = fork.Event()
    other = fork.Process(target=keep, args=(duty, held), daemon=True)
    other.start()
    assert other.pid is not None
    try:
        assert held.wait(10)
        assert not duty.mine()
        os.kill(other.pid, signal.SIGSTOP)
        wait_for(duty.mine, STALE_S + 5)
        os.kill(other.pid, signal.SIGCONT)
        wait_for(lambda: not duty.mine())
    finally:
        other.kill()
        other.join()

    assert duty.mine()
    duty.close()


@pytest.mark.parametrize(
    "headers", ["[1]", '"text"', '{"task_id": "no JSON"}', '{"task_id": 7}', '{"deadline": {}}']
)
def test_a_row_with_odd_headers_is_sent_all_the_same_and_holds_up_no_other(bank: Bank, headers: str) -> None:
    """Who may call `trivet.accept` may give it any headers."""
    odd = (
        "SELECT trivet.accept(gen_random_uuid(), 'testing.answer', 'odd', '[[],{},{}]', NULL,"
        " cast(:headers AS jsonb), NULL, now() - interval '1 hour') AS accepted"
    )
    assert bank.rows(odd, headers=headers) == [(True,)]
    accept(bank, 1)

    assert send_all(bank) == 2
    assert len(waiting(bank)) == 2
