"""Settings: a wrong one stops the start and is named, and none of them shows a secret."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from worker.errors import WrongSettings
from worker.secret_files import set_for_all
from worker.settings import ProducerSettings, Settings, read_kind, read_settings

URLS = {
    "TRIVET_POSTGRES_URL": "postgresql://trivet:canary-one@localhost/trivet",
    "TRIVET_MONGO_URL": "mongodb://trivet:canary-two@localhost/trivet",
    "TRIVET_REDIS_URL": "redis://:canary-three@localhost/0",
}
WRONG = [
    ("TRIVET_POSTGRES_URL", "mysql://canary@localhost/x"),
    ("TRIVET_POSTGRES_URL", "canary"),
    ("TRIVET_MONGO_URL", "http://canary@localhost"),
    ("TRIVET_REDIS_URL", "memory://canary"),
    ("TRIVET_POOL_MAX", "0"),
    ("TRIVET_POOL_MAX", "many-canaries"),
    ("TRIVET_POOL_IDLE_S", "0"),
    ("TRIVET_POOL_TIMEOUT_S", "-1"),
    ("TRIVET_SLOW_QUERY_MS", "-1"),
    ("TRIVET_CACHE_TTL_S", "0"),
    ("TRIVET_EVENTS_MAXLEN", "0"),
    ("TRIVET_BATCH_MAX", "0"),
    ("TRIVET_BATCH_MAX", "10001"),
    ("TRIVET_LEASE_S", "2.9"),
    ("TRIVET_QUEUE_MAX", "0"),
    ("TRIVET_OWED_MAX", "0"),
    ("TRIVET_RETENTION_D", "0"),
    ("TRIVET_LOG_LEVEL", "canary"),
    ("TRIVET_LOG_FORMAT", "canary"),
    ("TRIVET_METRICS_PORT", "canary"),
    ("TRIVET_ENV", "canary"),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the URLs and nothing else of ours."""
    for name in [name for name in os.environ if name.startswith("TRIVET_")]:
        monkeypatch.delenv(name)
    for name, url in URLS.items():
        monkeypatch.setenv(name, url)
    return monkeypatch


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_stops_the_start_and_is_named_but_not_shown(
    name: str, value: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, value)

    with pytest.raises(WrongSettings) as raised:
        read_settings(None)

    assert str(raised.value).startswith(f"{name} is wrong: ")
    assert "canar" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("name", URLS)
def test_a_url_has_no_default(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.delenv(name)

    with pytest.raises(WrongSettings, match=f"{name} is not set") as raised:
        read_settings(None)

    assert "canary" not in str(raised.value)


def test_all_that_is_wrong_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIVET_POOL_MAX", "0")
    environment.delenv("TRIVET_REDIS_URL")

    with pytest.raises(WrongSettings) as raised:
        read_settings(None)

    assert "TRIVET_POOL_MAX" in str(raised.value)
    assert "TRIVET_REDIS_URL" in str(raised.value)


@pytest.mark.parametrize("given", ["TRIVET_FLOWER_USER", "TRIVET_FLOWER_PASSWORD"])
def test_production_refuses_half_of_a_login_for_flower(given: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIVET_ENV", "production")
    environment.setenv(given, "canary")

    with pytest.raises(WrongSettings, match="TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD") as raised:
        read_settings(None)

    assert "canary" not in str(raised.value)


def test_no_secret_shows_in_a_repr_or_a_dump(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIVET_FLOWER_USER", "ada")
    environment.setenv("TRIVET_FLOWER_PASSWORD", "canary-four")

    settings = read_settings(None)

    assert settings.flower_password.get_secret_value() == "canary-four"
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "canary" not in shown


def test_the_env_file_is_read_in_development(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TRIVET_BATCH_MAX=7\n")

    assert read_settings(file).batch_max == 7


def test_production_is_not_chosen_in_the_env_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TRIVET_ENV=production\n")

    with pytest.raises(WrongSettings, match="TRIVET_ENV is production"):
        read_settings(file)


def test_the_env_file_is_not_read_in_production(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("TRIVET_BATCH_MAX=7\n")
    environment.setenv("TRIVET_ENV", "production")

    assert read_settings(file).batch_max == 500


def test_the_environment_wins_over_the_env_file(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("TRIVET_BATCH_MAX=7\n")
    environment.setenv("TRIVET_BATCH_MAX", "9")

    assert read_settings(file).batch_max == 9


def test_settings_do_not_change() -> None:
    settings = read_settings(None)

    with pytest.raises(ValueError, match="frozen"):
        settings.batch_max = 1  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize("url", ["rediss://h:6380/0", "redis://h"])
def test_redis_may_be_reached_with_tls_and_without(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIVET_REDIS_URL", url)

    assert read_settings(None).redis_url.get_secret_value() == url


def test_a_statement_and_a_frozen_transaction_end_before_the_lease_does() -> None:
    settings = Settings(_env_file=None, lease_s=15)

    assert settings.statement_timeout_s == 10
    assert settings.frozen_timeout_s == 5


@pytest.mark.parametrize(
    ("url", "for_celery"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("rediss://h:1/0", "rediss://h:1/0?ssl_cert_reqs=required"),
        ("rediss://h:1/0?socket_timeout=3", "rediss://h:1/0?socket_timeout=3&ssl_cert_reqs=required"),
        ("rediss://h:1/0?ssl_cert_reqs=none", "rediss://h:1/0?ssl_cert_reqs=none"),
    ],
)
def test_celery_gets_a_tls_url_with_verified_certificates(url: str, for_celery: str) -> None:
    settings = Settings(
        _env_file=None,
        postgres_url=SecretStr("postgresql://h/d"),
        mongo_url=SecretStr("mongodb://h/d"),
        redis_url=SecretStr(url),
    )

    assert settings.celery_url == for_celery


@pytest.fixture
def in_a_file(tmp_path: Path, environment: pytest.MonkeyPatch) -> Callable[[str, bytes], Path]:
    """Give a secret in a file, instead of in the environment."""

    def give(name: str, content: bytes) -> Path:
        file = tmp_path / name.lower()
        file.write_bytes(content)
        environment.delenv(name, raising=False)
        environment.setenv(f"{name}_FILE", str(file))
        return file

    return give


@pytest.mark.parametrize("env", ["development", "production"])
def test_every_secret_may_come_in_a_file(
    env: str, in_a_file: Callable[[str, bytes], Path], environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("TRIVET_ENV", env)
    environment.setenv("TRIVET_FLOWER_USER", "ada")
    for name, secret in {**URLS, "TRIVET_FLOWER_PASSWORD": "canary four"}.items():
        in_a_file(name, f"{secret}\n".encode())

    settings = read_settings(None)

    assert settings.postgres_url.get_secret_value() == URLS["TRIVET_POSTGRES_URL"]
    assert settings.mongo_url.get_secret_value() == URLS["TRIVET_MONGO_URL"]
    assert settings.redis_url.get_secret_value() == URLS["TRIVET_REDIS_URL"]
    assert settings.flower_password.get_secret_value() == "canary four"
    assert read_kind(ProducerSettings).redis_url.get_secret_value() == URLS["TRIVET_REDIS_URL"]
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\xffcanary", b"redis://:canary@h\nredis://:canary@h", b"redis://canary\0", b"memory://canary"],
)
def test_a_wrong_file_stops_the_start_and_is_named_but_what_it_holds_is_not_shown(
    content: bytes, in_a_file: Callable[[str, bytes], Path]
) -> None:
    in_a_file("TRIVET_REDIS_URL", content)

    with pytest.raises(WrongSettings, match="TRIVET_REDIS_URL_FILE is wrong: ") as raised:
        read_settings(None)

    assert "canary" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_files_that_cannot_be_read_are_all_named(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    for name in ("TRIVET_REDIS_URL", "TRIVET_MONGO_URL"):
        environment.delenv(name)
    environment.setenv("TRIVET_REDIS_URL_FILE", str(tmp_path / "gone"))
    environment.setenv("TRIVET_MONGO_URL_FILE", str(tmp_path))

    with pytest.raises(WrongSettings) as raised:
        read_settings(None)

    assert f"TRIVET_REDIS_URL_FILE is wrong: {tmp_path}/gone cannot be read (No such file" in str(raised.value)
    assert f"TRIVET_MONGO_URL_FILE is wrong: {tmp_path} cannot be read (Is a directory)" in str(raised.value)


def test_a_secret_comes_from_one_place(
    in_a_file: Callable[[str, bytes], Path], environment: pytest.MonkeyPatch
) -> None:
    in_a_file("TRIVET_REDIS_URL", b"redis://:canary@h")
    environment.setenv("TRIVET_REDIS_URL", URLS["TRIVET_REDIS_URL"])

    with pytest.raises(WrongSettings, match="TRIVET_REDIS_URL and TRIVET_REDIS_URL_FILE are both set"):
        read_settings(None)


def test_servers_that_trivet_starts_itself_win_over_a_file_that_is_named_for_another(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("redis://elsewhere")
    environment.delenv("TRIVET_REDIS_URL", raising=False)
    environment.setenv("TRIVET_REDIS_URL_FILE", str(file))

    environment.setenv("TRIVET_REDIS_URL", "")  # so that what is set now is taken back after the test
    set_for_all({"TRIVET_REDIS_URL": "redis://here"})

    assert read_settings(None).redis_url.get_secret_value() == "redis://here"
