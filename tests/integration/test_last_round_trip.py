"""What a set-based body writes last: sent at once, answered with the commit, and never kept by halves."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session

from tests.fixtures.jobs import Bank, message
from worker import Command, Result, UnitOfWork, job, last_round_trip, one_round_trip
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.resources import Resources
from worker.stores.round_trips import Statement, begin_with, committing

INSERT = "INSERT INTO trivet.job_conflicts (job_id, digest, task_id) VALUES (gen_random_uuid(), '', %s)"
ASK = Statement("SELECT 1", {})
Trip = Callable[[Session], AbstractContextManager[None]]
LARGE = "x" * 32 * 1024 * 1024


def insert(session: Session, name: str | None) -> None:
    session.connection().exec_driver_sql(INSERT, (name,))


class Note(Command):
    """Write a name down; None is refused by its column."""

    name: str | None


class Noted(Result):
    """It is there."""


@job("testing.note_down")
def note(command: Note, work: UnitOfWork) -> Noted:
    insert(work.session, command.name)
    return Noted()


@note.batch
def note_all(asked: Sequence[tuple[Note, UnitOfWork]]) -> Sequence[Noted]:
    session = asked[0][1].session
    with last_round_trip(session):
        for command, _ in asked:
            insert(session, command.name)
    return [Noted() for _ in asked]


def names(bank: Bank) -> list[str]:
    return [row.task_id for row in bank.rows("SELECT task_id FROM trivet.job_conflicts ORDER BY task_id")]


def on(connection: Connection) -> Session:
    return Session(connection, join_transaction_mode="rollback_only")


@contextmanager
def begun(given: Resources, *names: str | None, first: Statement = ASK) -> Iterator[Connection]:
    """A transaction that has sent these names, and waits for nothing."""
    with begin_with(given.engine, first) as (connection, _):
        with last_round_trip(on(connection)):
            for name in names:
                insert(on(connection), name)
        yield connection


def backend(given: Resources) -> Any:
    with given.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()


@pytest.mark.parametrize("name", ["b", LARGE])
def test_it_commits_with_what_is_written_behind_it(bank: Bank, given: Resources, name: str) -> None:
    with begun(given, "a", name) as connection, committing(connection) as driver:
        driver.execute(INSERT, ("c",))

    assert names(bank) == ["a", *sorted(["c", name])]


@pytest.mark.parametrize("wrong", [(None, "a"), ("a", None)])
def test_what_is_wrong_with_it_is_told_by_the_commit(
    bank: Bank, given: Resources, wrong: tuple[str | None, ...]
) -> None:
    with (
        pytest.raises(psycopg.errors.NotNullViolation),
        begun(given, *wrong) as connection,
        committing(connection) as driver,
    ):
        driver.execute(INSERT, ("c",))

    assert names(bank) == []


def test_nobody_waits_for_it(bank: Bank, given: Resources) -> None:
    one_id = INSERT.replace("gen_random_uuid()", "'00000000-0000-4000-8000-000000000000'")
    with given.engine.connect() as other:
        other.exec_driver_sql(one_id, ("theirs",))
        with begin_with(given.engine, ASK) as (connection, _):
            with last_round_trip(on(connection)):
                connection.exec_driver_sql(one_id, ("ours",))
            other.rollback()  # until then PostgreSQL cannot answer
            with committing(connection):
                pass

    assert names(bank) == ["ours"]


def test_where_it_is_wrong_the_plain_body_runs_and_harms_no_neighbour(bank: Bank) -> None:
    endings = bank.run(message("testing.note_down", {"name": "a"}), message("testing.note", {"name": None}))

    assert [ending.outcome for ending in endings] == ["succeeded", "rejected"]
    assert names(bank) == ["a"]


def test_a_value_that_cannot_be_sent_is_told_at_once(bank: Bank, given: Resources) -> None:
    with pytest.raises((psycopg.Error, DBAPIError)), begun(given, "a", "\0"):
        pass

    assert names(bank) == []


TRIPS = [(one_round_trip, last_round_trip), (last_round_trip, one_round_trip), (one_round_trip, one_round_trip)]


@pytest.mark.parametrize(("outer", "inner"), TRIPS)
def test_round_trips_cannot_be_nested(bank: Bank, given: Resources, outer: Trip, inner: Trip) -> None:
    def nest(session: Session) -> None:
        with outer(session):
            insert(session, "a")
            with inner(session):
                insert(session, "b")

    with pytest.raises(InvalidRequestError, match="nested"), begin_with(given.engine, ASK) as (connection, _):
        nest(on(connection))

    assert names(bank) == []


def test_no_other_last_one_follows_it(bank: Bank, given: Resources) -> None:
    def follow(session: Session) -> None:
        with last_round_trip(session):
            insert(session, "b")

    with pytest.raises(InvalidRequestError, match="last"), begun(given, "a") as connection:
        follow(on(connection))

    assert names(bank) == []


def test_nothing_may_be_asked_behind_it(bank: Bank, given: Resources) -> None:
    with pytest.raises(InvalidRequestError, match="behind a last_round_trip"), begun(given, "a") as connection:
        insert(on(connection), "b")

    assert names(bank) == []


@pytest.mark.parametrize("name", ["a", None])
def test_a_failure_behind_it_keeps_nothing_and_gives_the_connection_back(
    bank: Bank, given: Resources, name: str | None
) -> None:
    before = backend(given)

    # What PostgreSQL has answered by the time that all is sent is told at once.
    with pytest.raises((ZeroDivisionError, psycopg.errors.NotNullViolation)), begun(given, name):
        _ = 1 / 0

    assert (names(bank), backend(given)) == ([], before)


@pytest.mark.parametrize("end", [Session.rollback, Session.commit])
def test_a_body_that_ended_the_transaction_writes_nothing_with_it(
    bank: Bank, given: Resources, end: Callable[[Session], None]
) -> None:
    def body(session: Session) -> None:
        session.connection()
        end(session)
        with last_round_trip(session):
            insert(session, "a")

    ended = pytest.raises(InvalidRequestError, match="closed transaction")
    with ended, begin_with(given.engine, ASK) as (connection, _):
        body(Session(connection, join_transaction_mode="control_fully"))

    assert names(bank) == []


def test_a_session_that_is_silent_behind_it_is_ended(bank: Bank, given: Resources) -> None:
    impatient = Statement("SELECT set_config('idle_in_transaction_session_timeout', '300ms', true)", {})

    def be_silent(connection: Connection) -> None:
        time.sleep(1)
        with committing(connection) as driver:
            driver.execute(INSERT, ("b",))

    with (
        pytest.raises((psycopg.Error, DBAPIError)) as raised,
        begun(given, "a", first=impatient) as connection,
    ):
        be_silent(connection)

    # The reason is lost where it comes behind the answers; then nothing is counted.
    assert classify(raised.value) in {Trouble.SILENT, Trouble.AWAY}
    assert names(bank) == []
