"""What `trivet check` and the start of a worker find out about the stores."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis as Client
from sqlalchemy import text
from structlog.testing import capture_logs

from worker.errors import WrongSettings
from worker.operations.embedded import MongoDB, Place, Redis, Stack
from worker.operations.embedded.ports import choose
from worker.operations.health import Finding, check_stores, refuse_unsafe
from worker.operations.health_stores import Severity, Unmet, at_least, heads
from worker.settings import Settings
from worker.stores.postgres import open_engine

MakeSettings = Callable[..., Settings]
Look = tuple[str, str]

REACHABLE = {("postgres", "reachable"), ("mongo", "reachable"), ("redis", "reachable")}
RUN = "from worker.operations.cli import main; main()"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers with every setting that durability hangs on, for this file alone."""
    stack = Stack(Place.of(tmp_path_factory.mktemp("health")))
    stack.start()
    yield stack
    stack.kill()
    stack.place.remove()


@pytest.fixture
def settings(stack: Stack) -> MakeSettings:
    """Settings for these servers, with changes."""

    def make(**changed: Any) -> Settings:
        urls = stack.urls
        given = {"postgres_url": urls.postgres, "mongo_url": urls.mongo, "redis_url": urls.redis}
        return Settings(_env_file=None, **{**given, **changed})

    return make


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder of migrations whose newest is `second`."""
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001.py").write_text("revision = 'first'\ndown_revision = None\n")
    (versions / "0002.py").write_text("revision = 'second'\ndown_revision = 'first'\n")
    return versions.parent


@pytest.fixture
def at_revision(settings: MakeSettings) -> Iterator[Callable[..., None]]:
    """Make the database be at the given revisions; at none at all after the test."""
    engine = open_engine(settings())

    def put(*revisions: str) -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA trivet"))
            connection.execute(text("CREATE TABLE trivet.alembic_version (version_num text PRIMARY KEY)"))
            for revision in revisions:
                insert = text("INSERT INTO trivet.alembic_version VALUES (:revision)")
                connection.execute(insert, {"revision": revision})

    yield put
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS trivet CASCADE"))
    engine.dispose()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that the test may misconfigure and stop."""
    place = Place.of(tmp_path / "redis")
    with place.locked():
        place.prepare()
    redis = Redis(place)
    redis.start()
    yield redis
    redis.kill()
    place.remove()


class Alone(MongoDB):
    """A mongod without a replica set."""

    name: ClassVar[str] = "mongo"

    def _command(self) -> list[str]:
        command = super()._command()
        at = command.index("--replSet")
        return command[:at] + command[at + 2 :]

    def _settle(self, deadline: float) -> None:
        """It is its own primary at once."""


@pytest.fixture
def lone_mongo(tmp_path: Path) -> Iterator[MongoDB]:
    place = Place.of(tmp_path / "mongo")
    with place.locked():
        place.prepare()
    mongo = Alone(place)
    mongo.start()
    yield mongo
    mongo.kill()
    place.remove()


def by_look(findings: list[Finding]) -> dict[Look, Finding]:
    return {(finding.store, finding.what): finding for finding in findings}


def wrong(findings: list[Finding]) -> set[Look]:
    return {(finding.store, finding.what) for finding in findings if not finding.ok}


def with_option(url: str, option: str) -> str:
    return f"{url}?options=-c%20{option.replace('=', '%3D')}"


# What a check finds


def test_healthy_stores_pass_every_check_in_production(
    settings: MakeSettings, scripts: Path, at_revision: Callable[..., None]
) -> None:
    at_revision("second")

    findings = check_stores(settings(env="production"), scripts)

    assert wrong(findings) == set()
    looks = ["reachable", "version", "writable", "durable"]
    assert set(by_look(findings)) == {
        *((store, look) for store in ("postgres", "mongo", "redis") for look in looks),
        ("postgres", "migrated"),
        ("redis", "cached"),
    }


def test_a_check_leaves_nothing_behind(settings: MakeSettings, stack: Stack, scripts: Path) -> None:
    with Client.from_url(stack.urls.redis) as client:
        before = client.dbsize()

        check_stores(settings(), scripts)

        assert client.dbsize() == before


@pytest.mark.parametrize("store", ["postgres", "mongo", "redis"])
def test_a_store_that_is_down_is_named_and_does_not_hide_the_others(
    store: str, settings: MakeSettings, scripts: Path
) -> None:
    scheme = {"postgres": "postgresql", "mongo": "mongodb", "redis": "redis"}[store]
    url = f"{scheme}://u:canary@127.0.0.1:{choose()}/0"

    findings = check_stores(settings(**{f"{store}_url": url}), scripts)

    down = [finding for finding in findings if finding.store == store]
    assert [(finding.what, finding.failed) for finding in down] == [("reachable", True)]
    assert f"TRIVET_{store.upper()}_URL" in down[0].remedy
    assert "canary" not in str(down[0])
    assert {(one.store, one.what) for one in findings if one.ok} >= REACHABLE - {(store, "reachable")}


@pytest.mark.parametrize(
    ("revisions", "message"),
    [
        (None, "holds no schema of this program"),
        ((), "the database is at no revision, this program at second"),
        (("first",), "the database is at first, this program at second"),
    ],
)
def test_a_database_that_is_not_migrated_is_an_error_and_says_how(
    revisions: tuple[str, ...] | None,
    message: str,
    settings: MakeSettings,
    scripts: Path,
    at_revision: Callable[..., None],
) -> None:
    if revisions is not None:
        at_revision(*revisions)

    finding = by_look(check_stores(settings(), scripts))["postgres", "migrated"]

    assert finding.failed
    assert message in finding.message
    assert finding.remedy == "run: trivet migrate"


def test_a_database_that_takes_no_writes_is_an_error(settings: MakeSettings, stack: Stack) -> None:
    url = with_option(stack.urls.postgres, "default_transaction_read_only=on")

    finding = by_look(check_stores(settings(postgres_url=url)))["postgres", "writable"]

    assert finding.failed
    assert "read-only" in finding.message


def test_a_redis_that_takes_no_writes_is_an_error(settings: MakeSettings, own_redis: Redis) -> None:
    with Client.from_url(own_redis.url) as client:
        client.replicaof("127.0.0.1", choose())

    finding = by_look(check_stores(settings(redis_url=own_redis.url)))["redis", "writable"]

    assert finding.failed


def test_what_can_lose_writes_is_an_error_in_production_and_a_warning_in_development(
    settings: MakeSettings, stack: Stack, own_redis: Redis, lone_mongo: MongoDB
) -> None:
    with Client.from_url(own_redis.url) as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
    urls = {
        "postgres_url": with_option(stack.urls.postgres, "synchronous_commit=off"),
        "mongo_url": lone_mongo.url,
        "redis_url": own_redis.url,
    }

    strict = by_look(check_stores(settings(env="production", **urls)))
    lenient = by_look(check_stores(settings(**urls)))

    assert strict["postgres", "durable"].message == "off: synchronous_commit"
    assert strict["mongo", "durable"].message == "it is no replica set"
    assert strict["redis", "durable"].message == "appendonly is no, maxmemory-policy is allkeys-lru"
    for store in ("postgres", "mongo", "redis"):
        assert strict[store, "durable"].failed
        assert lenient[store, "durable"].severity is Severity.WARNING
        assert not lenient[store, "durable"].ok


def test_what_redis_does_not_let_us_see_is_a_warning_in_production_too(
    settings: MakeSettings, own_redis: Redis
) -> None:
    with Client.from_url(own_redis.url) as client:
        client.acl_setuser("blind", enabled=True, nopass=True, categories=["+@all"], commands=["-info"], keys=["*"])
    url = own_redis.url.replace("redis://", "redis://blind:any@")

    findings = by_look(check_stores(settings(env="production", redis_url=url)))

    for look in ("version", "durable"):
        assert findings["redis", look].message.startswith("cannot verify")
        assert findings["redis", look].severity is Severity.WARNING


@pytest.mark.parametrize("found", ["6.1", "5", "5.9.9", "6.1.99-rc1"])
def test_a_store_that_is_too_old_is_named_with_its_version(found: str) -> None:
    with pytest.raises(Unmet, match=rf"Redis {found} is older than 6\.2"):
        at_least("Redis", found, 6, 2)


@pytest.mark.parametrize("found", ["6.2", "6.10.1", "7", "8.0-rc1"])
def test_a_store_that_is_new_enough_is_accepted(found: str) -> None:
    assert at_least("Redis", found, 6, 2) == f"Redis {found}"


# What a worker does about it before it starts


def no_pause(_delay_s: float) -> None:
    pytest.fail("there is nothing to wait for")


def test_a_worker_starts_at_once_on_safe_stores(settings: MakeSettings) -> None:
    with capture_logs() as logs:
        refuse_unsafe(settings(env="production", slow_query_ms=60_000), no_pause)

    assert [log for log in logs if log["event"] != "query"] == []


def test_a_worker_waits_for_a_store_that_is_down(settings: MakeSettings, own_redis: Redis) -> None:
    own_redis.stop()
    pauses = []

    def pause(delay_s: float) -> None:
        pauses.append(delay_s)
        own_redis.start()

    with capture_logs() as logs:
        refuse_unsafe(settings(redis_url=own_redis.url), pause)

    [away] = [log for log in logs if log["event"] == "store.away"]
    assert (away["store"], away["log_level"], away["next_try_s"]) == ("redis", "warning", 0.25)
    assert away["error"].startswith("ConnectionError: ")
    assert pauses == [0.25]


def test_a_worker_waits_for_ever_and_never_longer_than_five_seconds(settings: MakeSettings) -> None:
    pauses: list[float] = []

    def pause(delay_s: float) -> None:
        pauses.append(delay_s)
        if len(pauses) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refuse_unsafe(settings(redis_url=f"redis://127.0.0.1:{choose()}/0"), pause)

    assert pauses == [0.25, 0.5, 1, 2, 4, 5, 5, 5]


def test_a_worker_refuses_in_production_what_can_lose_writes(settings: MakeSettings, stack: Stack) -> None:
    url = with_option(stack.urls.postgres, "synchronous_commit=off")

    with pytest.raises(WrongSettings, match=r"postgres is not durable \(off: synchronous_commit\); set "):
        refuse_unsafe(settings(env="production", postgres_url=url), no_pause)


def test_a_worker_warns_in_development_of_what_can_lose_writes(settings: MakeSettings, stack: Stack) -> None:
    url = with_option(stack.urls.postgres, "synchronous_commit=off")

    with capture_logs() as logs:
        refuse_unsafe(settings(postgres_url=url), no_pause)

    [unsafe] = [log for log in logs if log["event"] == "store.unsafe"]
    assert (unsafe["store"], unsafe["what"], unsafe["log_level"]) == ("postgres", "durable", "warning")


# The command


def run_check(stack: Stack, folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `trivet check` in an empty folder, so that no `.env` is read."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
    return subprocess.run(
        [sys.executable, "-c", RUN, "check", *options],
        env={**clean, **stack.urls.environment(), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_check_exits_1_and_says_what_to_do(stack: Stack, tmp_path: Path) -> None:
    url = f"redis://:canary@127.0.0.1:{choose()}/0"

    ran = run_check(stack, tmp_path, TRIVET_REDIS_URL=url)

    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert line.startswith("trivet: postgres is not migrated")
    assert "run: trivet migrate" in line
    assert "redis is not reachable" in line
    assert "correct TRIVET_REDIS_URL" in line
    assert "✓" in ran.stdout
    assert "✗" in ran.stdout
    assert "canary" not in ran.stdout + ran.stderr


def test_check_exits_0_on_what_is_only_a_warning(
    stack: Stack, tmp_path: Path, at_revision: Callable[..., None]
) -> None:
    at_revision(*heads())
    url = with_option(stack.urls.postgres, "synchronous_commit=off")

    ran = run_check(stack, tmp_path, TRIVET_POSTGRES_URL=url)

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert "✗ warning" in ran.stdout


def test_check_prints_one_json_object(stack: Stack, tmp_path: Path) -> None:
    ran = run_check(stack, tmp_path, "--json", TRIVET_ENV="production")

    printed = json.loads(ran.stdout)
    assert printed["ok"] is False
    assert {
        "store": "postgres",
        "what": "migrated",
        "ok": False,
        "severity": "error",
        "message": "the database holds no schema of this program",
        "remedy": "run: trivet migrate",
    } in printed["findings"]


def test_check_without_settings_names_them_and_exits_1(stack: Stack, tmp_path: Path) -> None:
    ran = run_check(stack, tmp_path, TRIVET_MONGO_URL="")

    assert ran.returncode == 1
    assert ran.stderr.startswith("trivet: TRIVET_MONGO_URL is wrong")


def test_the_checks_know_nothing_of_the_business() -> None:
    code = "import sys, worker.operations.cli.check; sys.exit('tasks' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
