"""A session that was revoked stays gone, whatever the order of jobs and of deliveries."""

import random
import threading
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.amounts import ORDERS
from tests.fixtures.copies import sessions_served
from tests.fixtures.jobs import Bank, message
from worker.delivery import redis_lane
from worker.delivery.due import Due, begin_turn
from worker.delivery.outbox import SHARDS, Lane
from worker.errors import Outcome
from worker.execution import batch
from worker.execution.attempt import Ending
from worker.messages import Message


def token(number: int = 0) -> str:
    """The hash of a token."""
    return sha256(f"token {number}".encode()).hexdigest()


def code(ending: Ending) -> str:
    return str(ending.data.get("code", ending.outcome))


def job(verb: str, number: int, **more: Any) -> Message:
    return message(f"sessions.{verb}", {"token_hash": token(number), **more})


def owed_to_redis(bank: Bank) -> list[Due]:
    rows: list[Due] = []
    for shard in range(SHARDS):
        with begin_turn(bank.run.given.engine, [Lane.REDIS], [shard], patience_s=60) as (_, found):
            rows += found.rows[Lane.REDIS]
    return rows


def deliver(bank: Bank, rows: Sequence[Due]) -> None:
    for start in range(0, len(rows), 100):
        assert redis_lane.deliver(bank.run.given.redis, rows[start : start + 100]) == {}


@pytest.mark.generated
def test_in_random_orders_of_delivery_what_was_revoked_stays_gone(bank: Bank) -> None:
    chance, users = random.Random(9), [bank.user() for _ in range(50)]
    numbers = range(ORDERS)
    steps = [
        [job("open", number, user_id=chance.choice(users), ttl_s=chance.randint(60, 3_600)) for number in numbers],
        [job("touch", number, ttl_s=chance.randint(60, 7_200)) for number in numbers],
        [job("revoke", number) for number in numbers if number % 2],
    ]
    for step in steps:
        done = batch.run(step[0].task, step, bank.run.given)
        assert {attempt.ended.outcome for attempt in done.attempts} == {Outcome.SUCCEEDED}
    owed = owed_to_redis(bank)
    assert len(owed) == 2.5 * ORDERS

    deliver(bank, chance.sample(owed * 2, len(owed) * 2))

    live = bank.rows("SELECT * FROM users_sessions WHERE revoked_at IS NULL")
    served = sessions_served(bank.run.given)
    assert served.keys() == {token(number) for number in numbers if number % 2 == 0}
    assert {it: end for it, (_, _, end) in served.items()} == {row.token_hash: row.expires_at for row in live}
    bank.deliver_all()
    bank.check()


@pytest.mark.generated
def test_in_random_orders_of_jobs_what_was_revoked_stays_gone(bank: Bank) -> None:
    chance, user = random.Random(10), bank.user()
    orders = [chance.sample(_jobs_of(number, user), 7) for number in range(ORDERS)]
    revoked: set[int] = set()

    for step in zip(*orders, strict=True):
        for verb in ("open", "touch", "revoke"):
            now = {number: sent for number, sent in enumerate(step) if sent.task == f"sessions.{verb}"}
            endings = bank.run(*now.values())
            assert {code(ending) for ending in endings} <= {"succeeded", "session_not_found"}
            revoked |= {number for number in now if verb == "revoke"}
        assert not sessions_served(bank.run.given).keys() & {token(number) for number in revoked}

    assert len(revoked) == ORDERS
    assert sessions_served(bank.run.given) == {}
    bank.check()


def _jobs_of(number: int, user: UUID) -> list[Message]:
    """What may happen to one token: opened, sent twice, opened by another job, touched twice, revoked twice."""
    new = {"user_id": user, "ttl_s": 100}
    first, end = job("open", number, **new), job("revoke", number, user_id=user)
    return [first, first, job("open", number, **new), job("touch", number), job("touch", number), end, end]


def test_a_version_outlives_every_value_that_may_still_come(bank: Bank) -> None:
    bank.run(job("open", 1, user_id=bank.user(), ttl_s=100), job("touch", 1, ttl_s=1_000), job("revoke", 1))

    remembered: Any = bank.run.given.redis.ttl(f"{redis_lane.VERSION_KEY}session:{token(1)}")
    assert remembered == pytest.approx(1_000, abs=5)


def test_users_who_are_removed_while_their_sessions_are_touched_leave_none(bank: Bank) -> None:
    users = [bank.user() for _ in range(30)]
    bank.run(*(job("open", number, user_id=users[number // 5], ttl_s=100) for number in range(150)))
    touches = [job("touch", number) for number in reversed(range(150))]
    removals = [message("users.delete", {"id": user}) for user in users]
    ended: list[Ending] = []

    def node(jobs: Sequence[Message], size: int) -> None:
        for start in range(0, len(jobs), size):
            part = jobs[start : start + size]
            ended.extend(attempt.ended for attempt in batch.run(part[0].task, part, bank.run.given).attempts)

    threads = [threading.Thread(target=node, args=[touches, 30]), threading.Thread(target=node, args=[removals, 6])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bank.deliver_all()

    assert [code(ending) for ending in ended].count("succeeded") >= 30
    assert {code(ending) for ending in ended} <= {"succeeded", "session_not_found"}
    assert sessions_served(bank.run.given) == {}
    assert bank.value("SELECT count(*) FROM users_sessions") == 0
