"""`SELECT trivet.enqueue(…)`: the same jobs as from every other way in, in the caller's own transaction."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example
from hypothesis import given as examples
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import wait_for
from tests.fixtures.sql import enqueue
from tests.unit.test_ids import DIGEST_VECTORS, ID_VECTORS
from worker.errors import Outcome
from worker.execution.resending import send_due
from worker.intake.elements import read_element
from worker.messages import PAYLOAD_MAX, Message, canonical, derive_id, digest_of, job_id
from worker.operations.jobs import tell

a_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=80)
patient = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def sql(bank: Bank) -> Iterator[Connection]:
    """A transaction of somebody else's, on empty stores; it is rolled back unless the test commits it."""
    with bank.run.given.engine.connect() as connection:
        yield connection


def sent(bank: Bank) -> list[Message]:
    """Send what is due; returns what is in the queue of accounts then."""
    redis = bank.run.given.redis
    send_due(bank.run.given)
    elements: Any = redis.lrange("accounts", 0, -1)
    redis.delete("accounts")
    return [read_element(raw).message for raw in reversed(elements)]


def deposit(bank: Bank, amount: int = 5) -> dict[str, Any]:
    return {"account": str(bank.open(100)), "amount": amount}


# Ids and digests


@pytest.mark.parametrize(("task", "key", "published"), ID_VECTORS)
def test_each_published_id_is_what_sql_derives(sql: Connection, task: str, key: str, published: str) -> None:
    derived = sql.execute(text("SELECT trivet.derive_id(:task, :key)"), {"task": task, "key": json.loads(key)})

    assert str(derived.scalar_one()) == published


@patient
@examples(task=a_text, key=a_text)
def test_sql_and_python_derive_the_same_id(sql: Connection, task: str, key: str) -> None:
    derived = sql.execute(text("SELECT trivet.derive_id(:task, :key)"), {"task": task, "key": key}).scalar_one()

    assert derived == derive_id(task, key)


def kept_by_jsonb(sql: Connection, payload: str) -> tuple[str, str]:
    """What JSONB keeps of a payload, and its canonical form as SQL has it."""
    kept, form = sql.execute(
        text("SELECT value::text, trivet.canonical(value) FROM (SELECT cast(:payload AS jsonb)) AS one (value)"),
        {"payload": payload},
    ).one()
    return kept, form


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(-1e15, 1e15)
    | st.decimals(-1000, 1000, places=4).map(float)
    | st.floats(-1e-4, 1e-4)
    | a_text,
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcäß🙂\ufb01", max_size=3), inner),
    max_leaves=8,
)


@patient
@examples(payload=st.dictionaries(a_text, values))
@example(payload={"b": 1e15, "c": 1.0, "d": -0.0, "e": [1e-6, 1e-5, 123456.75], "f": "\x1f\x7f\u2028"})
def test_sql_and_a_worker_make_the_same_canonical_form_of_what_jsonb_keeps(
    sql: Connection, payload: dict[str, Any]
) -> None:
    kept, form = kept_by_jsonb(sql, json.dumps(payload))

    assert form == canonical(json.loads(kept)).decode()


@pytest.mark.parametrize(
    ("payload", "form", "digest"), [row for row in DIGEST_VECTORS if "e+" not in row[1] and "-0.0" not in row[1]]
)
def test_each_published_digest_is_that_of_a_payload_from_sql(
    sql: Connection, payload: str, form: str, digest: str
) -> None:
    assert kept_by_jsonb(sql, payload)[1] == form


# The job


def test_a_job_by_sql_is_accepted_is_sent_as_celery_would_and_succeeds(bank: Bank, sql: Connection) -> None:
    payload = deposit(bank)
    key = enqueue(sql, "accounts.deposit", payload)
    sql.commit()

    story = tell(bank.run.given.engine, key)
    (message,) = sent(bank)
    (ending,) = bank.run(message)

    assert story is not None
    assert (story.state, story.digest, story.deadline - story.first_seen) == ("accepted", None, timedelta(hours=24))
    assert (message.task, message.task_id, job_id(message)) == ("accounts.deposit", str(key), key)
    assert (ending.outcome, bank.balance(UUID(payload["account"]))) == (Outcome.SUCCEEDED, 105)
    bank.check()


def test_a_transaction_that_is_rolled_back_enqueues_nothing(bank: Bank, sql: Connection) -> None:
    enqueue(sql, "accounts.deposit", deposit(bank))
    sql.rollback()

    assert sent(bank) == []
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE task = 'accounts.deposit'") == 0


def test_a_job_with_a_time_is_sent_when_it_is_due_and_not_before(bank: Bank, sql: Connection) -> None:
    run_at = datetime.now(UTC) + timedelta(days=3)
    key = enqueue(sql, "accounts.deposit", deposit(bank), run_at=run_at)
    sql.commit()

    early = sent(bank)
    story = tell(bank.run.given.engine, key)
    bank.value("UPDATE trivet.jobs SET due_at = now() WHERE id = :id RETURNING 1", id=key)

    assert early == []
    assert story is not None
    assert (story.due_at, story.deadline) == (run_at, run_at + timedelta(hours=24))
    assert [message.task_id for message in sent(bank)] == [str(key)]


# The same id again


def test_the_same_key_with_the_same_payload_is_one_job_before_and_after_it_ended(
    bank: Bank, sql: Connection
) -> None:
    payload = deposit(bank)
    rewritten = dict(reversed(payload.items()))

    first = enqueue(sql, "accounts.deposit", payload, "order-1")
    second = enqueue(sql, "accounts.deposit", rewritten, "order-1")
    sql.commit()
    messages = sent(bank)
    bank.run(*messages)
    third = enqueue(sql, "accounts.deposit", payload, "order-1")
    sql.commit()

    assert first == second == third == derive_id("accounts.deposit", "order-1")
    assert (len(messages), sent(bank)) == (1, [])
    assert bank.balance(UUID(payload["account"])) == 105


def test_the_same_key_with_another_payload_fails_the_statement(bank: Bank, sql: Connection) -> None:
    payload = deposit(bank)
    enqueue(sql, "accounts.deposit", payload, "order-1")
    sql.commit()

    with pytest.raises(DBAPIError, match="has another payload or task") as refused:
        enqueue(sql, "accounts.deposit", payload | {"amount": 6}, "order-1")

    assert getattr(refused.value.orig, "sqlstate", None) == "23505"


@pytest.mark.parametrize("ended", [False, True])
def test_a_key_used_by_celery_is_the_same_job_by_sql(bank: Bank, sql: Connection, *, ended: bool) -> None:
    payload = deposit(bank)
    by_celery = message("accounts.deposit", payload, idempotency_key="order-1")
    if ended:
        bank.run(by_celery)

    enqueue(sql, "accounts.deposit", payload, "order-1")
    sql.commit()
    bank.run(by_celery, *sent(bank))

    assert bank.balance(UUID(payload["account"])) == 105
    with pytest.raises(DBAPIError, match="idempotency_conflict"):
        enqueue(sql, "accounts.deposit", payload | {"amount": 6}, "order-1")


def test_a_message_that_comes_before_an_accepted_job_of_another_payload_is_refused(
    bank: Bank, sql: Connection
) -> None:
    payload = deposit(bank)
    enqueue(sql, "accounts.deposit", payload, "order-1")
    sql.commit()

    (refused,) = bank.run(message("accounts.deposit", payload | {"amount": 6}, idempotency_key="order-1"))
    (ending,) = bank.run(*sent(bank))

    assert refused.data["code"] == "idempotency_conflict"
    assert (ending.outcome, bank.balance(UUID(payload["account"]))) == (Outcome.SUCCEEDED, 105)


def test_a_payload_that_every_worker_rejects_is_the_same_when_it_comes_again(bank: Bank, sql: Connection) -> None:
    payload = '{"account": "x", "amount": 99999999999999999999}'
    enqueue(sql, "accounts.deposit", payload, "order-1")
    sql.commit()
    (ending,) = bank.run(*sent(bank))

    again = enqueue(sql, "accounts.deposit", payload, "order-1")

    assert (ending.outcome, ending.data["field"]) == (Outcome.REJECTED, "amount")
    assert again == derive_id("accounts.deposit", "order-1")


def test_a_payload_with_fractions_runs_under_the_digest_of_a_workers_own_reading(
    bank: Bank, sql: Connection
) -> None:
    payload = '{"account": "x", "amount": 1.50, "z": [1e16, 0.1, 1e-7, -0.0]}'
    key = enqueue(sql, "accounts.deposit", payload)
    sql.commit()

    (message,) = sent(bank)
    (ending,) = bank.run(message)
    story = tell(bank.run.given.engine, key)

    assert ending.data["code"] == "invalid_payload"
    assert story is not None
    assert story.digest == digest_of(message).hex()


# What is refused


@pytest.mark.parametrize(
    ("task", "payload", "key", "run_at", "told"),
    [
        (None, "{}", None, None, "the task must be"),
        ("", "{}", None, None, "the task must be"),
        ("transfer", "{}", None, None, "the task must be"),
        (".transfer", "{}", None, None, "the task must be"),
        ("accounts.", "{}", None, None, "the task must be"),
        ("accounts.a b", "{}", None, None, "the task must be"),
        ("accounts." + "x" * 250, "{}", None, None, "the task must be"),
        ("accounts.transfer", None, None, None, "must be a JSON object"),
        ("accounts.transfer", "[]", None, None, "must be a JSON object"),
        ("accounts.transfer", "null", None, None, "must be a JSON object"),
        ("accounts.transfer", "{}", "", None, "1 to 512 characters"),
        ("accounts.transfer", "{}", "ä" * 513, None, "1 to 512 characters"),
        ("accounts.transfer", "{}", None, "infinity", "run_at must be a time"),
        ("accounts.transfer", "{}", None, "0044-03-15 BC", "run_at must be a time"),
        ("accounts.transfer", json.dumps({"a": "x" * PAYLOAD_MAX}), None, None, "larger than 262144 bytes"),
    ],
)
def test_what_no_worker_would_take_fails_the_statement(
    sql: Connection, task: str, payload: str, key: str, run_at: str, told: str
) -> None:
    call = text("SELECT trivet.enqueue(:task, cast(:payload AS jsonb), :key, cast(:run_at AS timestamptz))")

    with pytest.raises(DBAPIError, match=told) as refused:
        sql.execute(call, {"task": task, "payload": payload, "key": key, "run_at": run_at})

    assert getattr(refused.value.orig, "sqlstate", None) == "22023"


def test_the_limits_themselves_are_taken(bank: Bank, sql: Connection) -> None:
    spaced = {str(number): 1 for number in range(10_000)}  # JSONB writes two spaces with each, which do not count
    padding = PAYLOAD_MAX - len(canonical(spaced | {"x": ""}))

    enqueue(sql, "accounts.deposit", spaced | {"x": "y" * padding}, "ä" * 512)

    with pytest.raises(DBAPIError, match="larger than 262144 bytes"):
        enqueue(sql, "accounts.deposit", spaced | {"x": "y" * (padding + 1)})


# Rights


@pytest.fixture
def producer(sql: Connection) -> Connection:
    """The transaction of a role that may only enqueue."""
    sql.execute(text("SET LOCAL ROLE trivet_producer"))
    return sql


def test_a_producer_enqueues_without_any_right_on_tables(bank: Bank, producer: Connection) -> None:
    key = enqueue(producer, "accounts.deposit", deposit(bank), "order-1")
    producer.commit()

    assert tell(bank.run.given.engine, key) is not None


@pytest.mark.parametrize(
    "statement", ["SELECT 1 FROM trivet.jobs", "DELETE FROM trivet.jobs", "UPDATE trivet.sends SET number = 0"]
)
def test_a_producer_reads_and_changes_no_table(producer: Connection, statement: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        producer.execute(text(statement))


def test_a_reader_enqueues_nothing(sql: Connection) -> None:
    sql.execute(text("SET LOCAL ROLE trivet_reader"))

    with pytest.raises(DBAPIError, match="permission denied for function enqueue"):
        enqueue(sql, "accounts.deposit", {})


def test_a_callers_search_path_does_not_lead_astray(bank: Bank, sql: Connection) -> None:
    sql.execute(text("CREATE TEMP TABLE jobs (id uuid)"))
    sql.execute(text("CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT ''''::bytea'"))
    sql.execute(text("SET LOCAL search_path = pg_temp, public"))
    sql.execute(text("SET LOCAL extra_float_digits = 0"))

    key = enqueue(sql, "accounts.deposit", {"amount": 0.1}, "order-1")

    assert key == derive_id("accounts.deposit", "order-1")
    assert enqueue(sql, "accounts.deposit", {"amount": 0.1}, "order-1") == key


def test_two_who_enqueue_the_same_key_at_once_make_one_job(bank: Bank, sql: Connection) -> None:
    payload = deposit(bank)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%trivet.enqueue%'"

    def other() -> UUID:
        with bank.run.given.engine.begin() as connection:
            return enqueue(connection, "accounts.deposit", payload, "order-1")

    first = enqueue(sql, "accounts.deposit", payload, "order-1")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(other)
        wait_for(lambda: bank.value(waits) == 1)
        sql.commit()

    assert second.result() == first
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE id = :id", id=first) == 1
