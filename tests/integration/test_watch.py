"""The question that a node asks ten times a second is answered; a lost connection and a wrong question are told."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.fixtures.jobs import settings_for
from worker.operations.embedded import Urls
from worker.stores.postgres_errors import Trouble, classify
from worker.stores.watch import Watch

MINE = (
    "SELECT pg_backend_pid() > 0, application_name = 'curious' FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)


@contextmanager
def watching(servers: Urls, statement: str) -> Iterator[Watch]:
    watch = Watch(settings_for(servers), statement, application_name="curious")
    try:
        yield watch
    finally:
        watch.close()


def test_each_question_gets_its_booleans_in_their_order(servers: Urls) -> None:
    with watching(servers, "SELECT true, false, now() > '2000-01-01'") as watch:
        assert [watch.ask(), watch.ask()] == [(True, False, True)] * 2


def test_it_sees_what_others_have_committed_since_it_asked_last(servers: Urls) -> None:
    asked = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'noticed')"
    with (
        watching(servers, asked) as watch,
        psycopg.connect(servers.postgres, autocommit=True) as other,
    ):
        before = watch.ask()
        other.execute("CREATE DATABASE noticed")
        after = watch.ask()
        other.execute("DROP DATABASE noticed")

    assert (before, after) == ((False,), (True,))


def test_a_connection_that_was_ended_is_told_and_the_next_question_makes_another(servers: Urls) -> None:
    with watching(servers, MINE) as watch, psycopg.connect(servers.postgres, autocommit=True) as other:
        watch.ask()
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'curious'")

        with pytest.raises(psycopg.Error) as lost:
            watch.ask()

        assert classify(lost.value) is Trouble.AWAY
        assert watch.ask() == (True, True)


def test_a_question_that_postgresql_does_not_understand_names_what_is_wrong(servers: Urls) -> None:
    with watching(servers, "SELECT true FROM nowhere") as watch, pytest.raises(psycopg.Error, match="nowhere"):
        watch.ask()
