"""Statements that go out together: what is wrong with one is told at the end, and nothing half done is kept."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.fixtures.jobs import Bank, message
from worker import one_round_trip
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.resources import Resources
from worker.stores.round_trips import committing

INSERT = "INSERT INTO trivet.job_conflicts (job_id, digest, task_id) VALUES (gen_random_uuid(), '', %s)"
WRONG = (
    "INSERT INTO trivet.job_conflicts (job_id, digest, task_id) VALUES (gen_random_uuid(), '', %s::text || NULL)"
)
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
