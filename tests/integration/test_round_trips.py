"""Statements that go out together: what is wrong with one is told at the end, and nothing half done is kept."""

import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from tests.fixtures.jobs import Bank, message, settings_for
from worker import one_round_trip
from worker.operations.embedded import Urls
from worker.stores.postgres import open_engine
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.resources import Resources
from worker.stores.round_trips import Statement, begin_with, committing

INSERT = "INSERT INTO trivet.job_conflicts (job_id, digest, task_id) VALUES (gen_random_uuid(), '', %s)"
WRONG = (
    "INSERT INTO trivet.job_conflicts (job_id, digest, task_id) VALUES (gen_random_uuid(), '', %s::text || NULL)"
)
INSERT_A = Statement(f"{INSERT} RETURNING 1".replace("%s", "'a'"), {})
INSERT_NULL = Statement(f"{INSERT} RETURNING 1".replace("%s", "NULL"), {})
NAMES = "SELECT task_id FROM trivet.job_conflicts ORDER BY task_id"


def insert(session: Session, name: str, statement: str = INSERT) -> None:
    session.connection().exec_driver_sql(statement, (name,))


def insert_three(session: Session, second: str) -> None:
    with one_round_trip(session):
        insert(session, "a")
        insert(session, "b", second)
        insert(session, "c")


def insert_and_commit(given: Resources, then: Callable[[Connection], None]) -> None:
    with given.engine.begin() as connection, committing(connection):
        insert(Session(connection), "a")
        then(connection)


def insert_wrong(connection: Connection) -> None:
    insert(Session(connection), "b", WRONG)


def end_session(given: Resources) -> Callable[[Connection], None]:
    def end(connection: Connection) -> None:
        mine = connection.connection.driver_connection
        assert isinstance(mine, psycopg.Connection)
        with given.engine.begin() as another:
            another.exec_driver_sql("SELECT pg_terminate_backend(%s, 5000)", (mine.info.backend_pid,))

    return end


def names(bank: Bank) -> list[str]:
    return [row.task_id for row in bank.rows(NAMES)]


def test_statements_of_one_round_trip_are_done_when_it_is_over(given: Resources) -> None:
    with Session(given.engine) as session:
        insert_three(session, INSERT)
        seen = session.connection().exec_driver_sql(NAMES).scalars().all()

    assert seen == ["a", "b", "c"]


def test_a_wrong_statement_is_told_at_the_end_of_its_round_trip(bank: Bank, given: Resources) -> None:
    with Session(given.engine) as session:
        with pytest.raises(psycopg.errors.NotNullViolation, match="task_id"):
            insert_three(session, WRONG)
        session.rollback()
        insert_three(session, INSERT)
        session.commit()

    assert names(bank) == ["a", "b", "c"]


def test_the_commit_goes_out_with_the_last_statement(bank: Bank, given: Resources) -> None:
    with given.engine.begin() as connection:
        with committing(connection):
            insert(Session(connection), "a")
        seen_by_others = names(bank)

    assert seen_by_others == ["a"]


def test_nothing_is_committed_when_the_last_statement_is_wrong(bank: Bank, given: Resources) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation):
        insert_and_commit(given, insert_wrong)

    assert names(bank) == []


def test_a_connection_that_is_lost_under_a_round_trip_is_replaced(bank: Bank, given: Resources) -> None:
    with pytest.raises((psycopg.OperationalError, DBAPIError)) as raised:
        insert_and_commit(given, end_session(given))

    assert classify(raised.value) is Trouble.AWAY
    assert names(bank) == []


def test_a_transaction_begins_with_its_first_statements(bank: Bank, given: Resources) -> None:
    first, second = Statement("SELECT %(a)s::int", {"a": 1}), Statement("SELECT txid_current_if_assigned()", {})

    with begin_with(given.engine, INSERT_A, first, second) as (connection, rows):
        connection.exec_driver_sql(INSERT, ("b",))
        seen_by_others = names(bank)
        (_, ((one,),), ((transaction,),)) = rows
    with given.engine.connect() as other:
        own = other.connection.driver_connection
        assert isinstance(own, psycopg.Connection)
        assert not own.autocommit

    assert (one, transaction is None, seen_by_others) == (1, False, [])
    assert names(bank) == ["a", "b"]


def test_nothing_is_kept_of_a_transaction_whose_first_statements_or_body_fail(bank: Bank, given: Resources) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation), begin_with(given.engine, INSERT_A, INSERT_NULL):
        pass
    with pytest.raises(ZeroDivisionError), begin_with(given.engine, INSERT_A):
        _ = 1 / 0

    assert names(bank) == []


def test_a_connection_that_is_lost_in_a_transaction_is_replaced(bank: Bank, given: Resources) -> None:
    def lose(connection: Connection) -> None:
        end_session(given)(connection)
        connection.exec_driver_sql(INSERT, ("b",))

    with (
        pytest.raises((psycopg.OperationalError, DBAPIError)) as raised,
        begin_with(given.engine, INSERT_A) as begun,
    ):
        lose(begun.connection)
    with begin_with(given.engine, INSERT_A):
        pass

    assert classify(raised.value) is Trouble.AWAY
    assert names(bank) == ["a"]


IMPATIENT = Statement("SELECT set_config('idle_in_transaction_session_timeout', '300ms', true)", {})


def one_trip_more(connection: Connection) -> None:
    with one_round_trip(Session(connection, join_transaction_mode="rollback_only")):
        connection.exec_driver_sql(INSERT, ("b",))


@pytest.mark.parametrize("then", [lambda _connection: None, one_trip_more])
def test_a_session_that_is_silent_after_a_round_trip_is_ended(
    bank: Bank, given: Resources, then: Callable[[Connection], None]
) -> None:
    def be_silent(connection: Connection) -> None:
        then(connection)
        time.sleep(1)
        with committing(connection) as driver:
            driver.execute("SELECT 1")

    with (
        pytest.raises((psycopg.Error, DBAPIError)) as raised,
        begin_with(given.engine, IMPATIENT, INSERT_A) as begun,
    ):
        be_silent(begun.connection)

    assert classify(raised.value) is Trouble.SILENT
    assert names(bank) == []


def test_a_round_trip_may_be_larger_than_any_socket_s_buffer(given: Resources) -> None:
    large = Statement("SELECT octet_length(%(large)b::bytea)", {"large": bytes(64 * 1024 * 1024)})

    with begin_with(given.engine, large) as begun, committing(begun.connection) as driver:
        driver.execute(*large)

    assert begun.rows == [[(64 * 1024 * 1024,)]]


def test_a_body_that_rolls_back_has_failed_and_its_job_stays_known(bank: Bank) -> None:
    rolls_back, neighbour = message("testing.roll_back", {"seconds": 0}), message("testing.think", {"seconds": 0})

    alone, beside = bank.run(rolls_back)[0], bank.run(neighbour)[0]

    assert (alone.outcome, beside.outcome) == ("retrying", "succeeded")
    assert bank.value("SELECT count(*) FROM trivet.jobs WHERE state = 'retrying'") == 1


class Interrupted(Exception):
    """As a soft time limit: it comes at any moment."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[float], object]]:
    """Raise `Interrupted` in so many seconds."""

    def ring(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, ring)
    yield partial(signal.setitimer, signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


SLEEP = Statement("SELECT pg_sleep(1)", {})


@pytest.mark.parametrize("first", [[INSERT_A, SLEEP], [INSERT_A]])
def test_an_interruption_of_a_round_trip_comes_out_and_nothing_is_kept(
    bank: Bank, given: Resources, interrupt: Callable[[float], object], first: list[Statement]
) -> None:
    interrupt(0.3)
    with (
        pytest.raises(Interrupted),
        begin_with(given.engine, *first) as begun,
        committing(begun.connection) as driver,
    ):
        driver.execute(*SLEEP)
    with begin_with(given.engine, Statement("SELECT 1", {})):
        pass

    assert names(bank) == []


def leave_in_autocommit(driver: "psycopg.Connection[Any]") -> None:
    driver.autocommit = True


def leave_in_a_pipeline(driver: "psycopg.Connection[Any]") -> None:
    driver.pgconn.enter_pipeline_mode()


@pytest.mark.parametrize("leave", [leave_in_autocommit, leave_in_a_pipeline])
def test_a_connection_that_was_left_unfinished_is_replaced(
    bank: Bank, given: Resources, leave: Callable[["psycopg.Connection[Any]"], None]
) -> None:
    given.engine.dispose()
    with given.engine.connect() as connection:
        leave(cast("psycopg.Connection[Any]", connection.connection.driver_connection))
    with given.engine.connect() as connection:
        connection.exec_driver_sql(INSERT, ("a",))
        connection.rollback()

    assert names(bank) == []


def test_a_slow_round_trip_is_told_with_its_statements(servers: Urls) -> None:
    engine = open_engine(settings_for(servers, slow_query_ms=20))
    wait = Statement("SELECT pg_sleep(0.03)", {})
    with capture_logs() as logs, begin_with(engine, wait) as begun, committing(begun.connection) as driver:
        driver.execute(*wait)
    engine.dispose()

    slow = [log["statement"] for log in logs if log["event"] == "query.slow"]
    assert slow == ["BEGIN; SELECT pg_sleep(0.03)", "-- the last statements and COMMIT"]


@pytest.fixture
def names_taken(given: Resources) -> Iterator[None]:
    """A table whose rule is looked at by the commit."""
    with given.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE names_taken (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    yield
    with given.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE names_taken")


@pytest.mark.usefixtures("names_taken")
@pytest.mark.parametrize(("task", "outcome"), [("take_name", "rejected"), ("take_name_or_fail", "retrying")])
def test_a_job_that_only_the_commit_refuses_fails_alone(bank: Bank, task: str, outcome: str) -> None:
    jobs = [message(f"testing.{task}", {"name": name}) for name in ("a", "b", "a", "c")]

    endings = [ending.outcome.value for ending in bank.run(*jobs)]

    assert sorted(endings) == sorted([outcome, "succeeded", "succeeded", "succeeded"])
    assert endings[1] == endings[3] == "succeeded"
    assert bank.value("SELECT string_agg(name, ' ' ORDER BY name) FROM names_taken") == "a b c"
