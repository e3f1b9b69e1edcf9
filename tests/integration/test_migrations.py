import threading
from dataclasses import replace

from alembic import command
from sqlalchemy import text

from tests.fixtures.jobs import settings_for
from worker.operations.embedded import Stack, Urls
from worker.operations.health_stores import heads
from worker.operations.migrating import alembic_config, migrate
from worker.settings import Settings
from worker.stores.resources import Resources

(NEWEST,) = heads()


def test_the_code_and_the_migrations_describe_the_same_tables(settings: Settings) -> None:
    with Resources.open(settings) as given, given.engine.connect() as connection:
        command.check(alembic_config(connection))  # raises when they differ


def test_migrating_again_changes_nothing(settings: Settings) -> None:
    with Resources.open(settings) as given:
        assert migrate(given) == (NEWEST, NEWEST)


def test_every_step_can_be_taken_back_and_taken_again(servers: Urls, settings: Settings) -> None:
    with Resources.open(settings) as given:
        connection = given.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            connection.execute(text("CREATE DATABASE steps"))
    steps = replace(servers, postgres=servers.postgres.removesuffix("/trivet") + "/steps")

    with Resources.open(settings_for(steps)) as given:
        migrate(given)
        with given.engine.connect() as connection:
            command.downgrade(alembic_config(connection), "base")
        assert migrate(given) == (None, NEWEST)


def test_two_who_migrate_at_once_do_not_disturb_each_other(own_servers: Stack) -> None:
    settings = settings_for(own_servers.urls)
    revisions = []

    def one() -> None:
        with Resources.open(settings) as given:
            revisions.append(migrate(given)[1])

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert revisions == [NEWEST] * 2
