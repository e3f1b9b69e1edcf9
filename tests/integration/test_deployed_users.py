"""What each user of the deployed stores may do, and what not."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from redis import AuthenticationError, Redis
from redis.exceptions import NoPermissionError, ResponseError

from tests.fixtures.deployed import Deployed, initiate, run
from worker.operations.health import check_stores

OWNER_SQL = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('public', 'trivet')"


@pytest.fixture
def as_user(migrated: Deployed) -> Callable[..., Any]:
    """Run a statement of SQL as a user of PostgreSQL."""

    def execute(user: str, statement: LiteralString, *given: Any) -> Any:
        with psycopg.connect(migrated.url("postgres", user)) as connection:
            found = connection.execute(statement, given or None)
            return found.fetchall() if found.description else None

    return execute


# All three


@pytest.mark.parametrize("user", ["worker", "beat"])
def test_the_stores_as_compose_runs_them_are_fit_for_production(migrated: Deployed, user: str) -> None:
    findings = check_stores(migrated.settings(postgres=user, redis=user))

    assert [str(finding) for finding in findings if not finding.ok] == []
    assert {finding.what for finding in findings} == {
        *("reachable", "version", "writable", "migrated", "durable", "cached")
    }


# PostgreSQL


def test_whoever_migrates_does_it_as_the_owner(as_user: Any) -> None:
    assert as_user("migrate", "SELECT current_user, session_user") == [("trivet_owner", "migrate")]
    assert as_user("reader", OWNER_SQL) == [("trivet_owner",)]


@pytest.mark.parametrize(
    ("user", "statement"),
    [
        ("worker", "CREATE TABLE mine (id int)"),
        ("worker", "CREATE TABLE trivet.mine (id int)"),
        ("worker", "CREATE SCHEMA mine"),
        ("worker", "ALTER TABLE accounts ADD COLUMN mine int"),
        ("worker", "DROP TABLE ledger_entries"),
        ("worker", "TRUNCATE trivet.jobs"),
        ("worker", "ALTER TABLE ledger_entries DISABLE TRIGGER ALL"),
        ("worker", "UPDATE ledger_entries SET amount = 0"),
        ("worker", "DELETE FROM ledger_entries"),
        ("worker", "TRUNCATE ledger_entries"),
        ("worker", "SET ROLE trivet_owner"),
        ("worker", "CREATE ROLE mine"),
        ("reader", "INSERT INTO users SELECT * FROM users"),
        ("reader", "UPDATE users SET name = ''"),
        ("reader", "SELECT trivet.enqueue('users.list', '{}')"),
        ("reader", "CREATE TEMPORARY TABLE mine (id int)"),
        ("producer", "SELECT * FROM users"),
        ("producer", "SELECT * FROM trivet.jobs"),
        ("producer", "INSERT INTO trivet.jobs DEFAULT VALUES"),
        ("migrate", "CREATE ROLE mine"),
    ],
)
def test_what_a_role_is_not_for_it_may_not_do(as_user: Any, user: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        as_user(user, statement)


def test_a_producer_enqueues_and_a_reader_sees_it(as_user: Any) -> None:
    ((job,),) = as_user("producer", "SELECT trivet.enqueue('users.list', '{}')")

    assert as_user("reader", "SELECT state FROM trivet.jobs WHERE id = %s", job) == [("accepted",)]


# MongoDB


@pytest.fixture(params=["trivet", "reader"])
def documents(request: pytest.FixtureRequest, deployed: Deployed) -> Iterator[MongoClient[Any]]:
    with MongoClient[Any](deployed.url("mongo", request.param)) as client:
        yield client


def test_no_user_of_mongo_gets_at_another_database(documents: MongoClient[Any]) -> None:
    assert documents["trivet"]["users"].find_one({"_id": "nobody"}) is None

    for forbidden in (
        documents["other"]["users"].find_one,
        lambda: documents["other"]["users"].insert_one({}),
        documents["local"]["oplog.rs"].find_one,
        lambda: documents.admin.command("replSetGetConfig"),
        lambda: documents.admin.command("shutdown"),
        lambda: documents["trivet"].command("createUser", "mine", roles=[]),
    ):
        with pytest.raises(OperationFailure, match=r"not authorized|requires authentication"):
            forbidden()


def test_a_reader_of_documents_writes_none(deployed: Deployed) -> None:
    with (
        MongoClient[Any](deployed.url("mongo", "reader")) as client,
        pytest.raises(OperationFailure, match="not authorized"),
    ):
        client["trivet"]["users"].insert_one({})


def test_who_has_no_password_gets_nothing_from_mongo(deployed: Deployed) -> None:
    with (
        MongoClient[Any]("127.0.0.1", deployed.ports["mongo"], directConnection=True) as nobody,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        nobody["trivet"]["users"].find_one()


def test_a_replica_set_that_is_there_already_is_left_as_it_is(deployed: Deployed) -> None:
    assert "are there" in initiate(deployed)


def test_another_password_of_root_is_refused_in_a_sentence_and_changes_nothing(
    deployed: Deployed, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    shutil.copytree(deployed.secrets, secrets)
    (secrets / "mongo_root").chmod(0o600)
    (secrets / "mongo_root").write_text("another one")

    with pytest.raises(AssertionError) as refused:
        initiate(replace(deployed, secrets=secrets))

    assert "cannot change it" in str(refused.value)
    assert "Traceback" not in str(refused.value)
    assert "are there" in initiate(deployed)


# Redis

QUEUE = "accounts"
EVERYBODY = ["producer", "worker", "beat", "flower", "subscriber", "health"]
DANGEROUS = [
    *(["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "GET", "*"], ["CONFIG", "SET", "maxmemory", "1"], ["KEYS", "*"]),
    *(
        ["ACL", "LIST"],
        ["ACL", "SETUSER", "mine"],
        ["SHUTDOWN"],
        ["REPLICAOF", "NO", "ONE"],
        ["DEBUG", "SLEEP", "0"],
    ),
    *(["MONITOR"], ["CLIENT", "KILL", "TYPE", "normal"], ["SAVE"], ["BGREWRITEAOF"], ["MODULE", "LIST"]),
    *(["SCRIPT", "FLUSH"], ["SWAPDB", "0", "1"], ["GET", "somebody-elses"], ["PUBLISH", "somebody-elses", ""]),
]
DENIED = {
    "producer": [
        *(["LRANGE", QUEUE, "0", "-1"], ["RPOP", QUEUE], ["LPOP", QUEUE], ["BRPOP", QUEUE, "1"], ["DEL", QUEUE]),
        *(["LREM", QUEUE, "0", "x"], ["LTRIM", QUEUE, "1", "0"], ["RENAME", QUEUE, "posts"], ["SCAN", "0"]),
        *(["SET", "celery-task-meta-1", "x"], ["XADD", "events", "*", "event", "x"], ["PUBLISH", "events:x", "x"]),
        *(["PUBLISH", "/0.celery.pidbox", "x"], ["GET", "session:1"], ["HGETALL", "trivet:held:1"], ["INFO"]),
        *(["SADD", "trivet:paused", QUEUE], ["SUBSCRIBE", "notifications:1"], ["PSUBSCRIBE", "*"]),
    ],
    "worker": [["GET", "somebody-elses"], ["SUBSCRIBE", "somebody-elses"], ["PSUBSCRIBE", "*"], ["ACL", "WHOAMI"]],
    "beat": [["LPUSH", QUEUE, "x"], ["RPOP", QUEUE], ["GET", "session:1"], ["PUBLISH", "/0.celery.pidbox", "x"]],
    "flower": [
        *(["RPOP", QUEUE], ["BRPOP", QUEUE, "1"], ["LPUSH", QUEUE, "x"], ["DEL", QUEUE], ["LPOP", QUEUE]),
        *(["HGETALL", "trivet:held:1"], ["SET", "celery-task-meta-1", "x"], ["GET", "session:1"], ["SCAN", "0"]),
        *(["SADD", "trivet:paused", QUEUE], ["XRANGE", "events", "-", "+"], ["PSUBSCRIBE", "*"]),
    ],
    "subscriber": [
        *(["XADD", "events", "*", "event", "x"], ["XTRIM", "events", "MAXLEN", "0"], ["DEL", "events"]),
        *(["PUBLISH", "events:x", "x"], ["LPUSH", QUEUE, "x"], ["LLEN", QUEUE], ["GET", "celery-task-meta-1"]),
        *(["EVAL", "return 1", "0"], ["SUBSCRIBE", "/0.celery.pidbox"], ["PSUBSCRIBE", "*"], ["GET", "user:1"]),
    ],
    "health": [["GET", "user:1"], ["INFO"], ["SUBSCRIBE", "events:x"], ["LLEN", QUEUE]],
}


@pytest.mark.parametrize("user", EVERYBODY)
def test_what_a_user_of_redis_is_not_for_it_may_not_do(deployed: Deployed, user: str) -> None:
    with deployed.redis(user) as client:
        allowed = [command for command in [*DANGEROUS, *DENIED[user]] if not is_denied(client, command)]

    assert allowed == []


def is_denied(client: Redis, command: list[str]) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py has no type here
    except NoPermissionError:
        return True
    return False


def test_a_script_may_do_no_more_than_who_runs_it(deployed: Deployed) -> None:
    with deployed.redis("producer") as client:
        for script in ("return redis.call('RPOP', 'accounts')", "return redis.call('GET', 'session:1')"):
            with pytest.raises(ResponseError, match=r"can't run this command|can't access at least one|NOPERM|ACL"):
                client.eval(script, 0)


def test_who_has_no_password_gets_nothing_from_redis(deployed: Deployed) -> None:
    with Redis(port=deployed.ports["redis"]) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()


# The script that makes the secrets


def test_made_again_the_secrets_stay_and_nobody_else_gets_at_them(deployed: Deployed, tmp_path: Any) -> None:
    script = "deploy/make-secrets.sh"
    before = {file.name: file.read_text() for file in deployed.secrets.iterdir()}

    run(script, deployed.secrets)
    run(script, tmp_path / "others")

    assert {file.name: file.read_text() for file in deployed.secrets.iterdir()} == before
    assert (tmp_path / "others").stat().st_mode & 0o777 == 0o700
    shared = {name for name, text in before.items() if (tmp_path / "others" / name).read_text() == text}
    assert shared == set()
