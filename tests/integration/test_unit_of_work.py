import json
from uuid import UUID, uuid4

import pytest

from tests.fixtures.jobs import Bank, message
from worker.messages import derive_id


def test_a_job_that_another_enqueues_is_in_its_queue_after_the_commit_under_the_same_id_each_time(
    bank: Bank,
) -> None:
    owner, job_id = bank.user(), uuid4()
    first = message("testing.follow", {"owner_id": owner, "times": 2}, job_id)

    bank.run(first, first)
    bank.run(first)

    sent = [json.loads(element)["headers"] for element in bank.run.given.redis.lrange("accounts", 0, -1)]
    assert {header["id"] for header in sent} == {str(derive_id("accounts.open", f"{job_id}/{n}")) for n in range(2)}
    assert {header["task"] for header in sent} == {"accounts.open"}


def test_a_live_message_and_a_dropped_cache_entry_follow_the_commit(bank: Bank) -> None:
    redis = bank.run.given.redis
    redis.set("user:1", "cached")
    listener = redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    listener.subscribe("notes")
    listener.get_message(timeout=5)

    bank.run(message("testing.tell", {"channel": "notes", "key": "user:1"}))

    told = listener.get_message(timeout=5)
    assert json.loads((told or {})["data"]) == {"text": "hello"}
    assert redis.get("user:1") is None
    listener.close()


def test_a_row_that_was_not_declared_is_an_error_of_the_code_and_says_so(bank: Bank) -> None:
    account = bank.open(1)

    (ending,) = bank.run(message("testing.undeclared", {"account": account}))

    assert ending.outcome == "retrying"
    assert "declare it" in (ending.error or "")


def test_a_result_beyond_64_kib_is_an_error_of_the_code(bank: Bank) -> None:
    (small,) = bank.run(message("testing.answer", {"length": 64 * 1024 - 11}))
    (large,) = bank.run(message("testing.answer", {"length": 64 * 1024 - 10}))

    assert (small.outcome, large.outcome) == ("succeeded", "retrying")
    assert "65537 bytes" in (large.error or "")


@pytest.mark.parametrize("times", [1, 3])
def test_created_rows_have_the_id_of_their_job(bank: Bank, times: int) -> None:
    ids = [uuid4() for _ in range(times)]

    bank.run(*(message("users.create", {"name": "A", "email": f"{i}@example.org"}, i) for i in ids))

    assert {row.id for row in bank.rows("SELECT id FROM users")} == {UUID(str(i)) for i in ids}
