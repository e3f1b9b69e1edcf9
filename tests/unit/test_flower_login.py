"""Who may look at Flower, without a server."""

from base64 import b64encode

import pytest
from pydantic import SecretStr

from worker.errors import WrongSettings
from worker.operations.flower_login import Login, is_local
from worker.settings import Settings

STORES = {
    "redis_url": SecretStr("redis://localhost"),
    "postgres_url": SecretStr("postgresql://localhost/trivet"),
    "mongo_url": SecretStr("mongodb://localhost/trivet"),
}


def settings(env: str, user: str = "", password: str = "") -> Settings:
    return Settings.model_validate(STORES | {"env": env, "flower_user": user, "flower_password": password})


def basic(pair: str) -> str:
    return f"Basic {b64encode(pair.encode()).decode()}"


def test_production_has_no_flower_without_a_login() -> None:
    with pytest.raises(WrongSettings, match="TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD are not set"):
        Login.of(settings("production"))

    assert Login.of(settings("development")) is None


@pytest.mark.parametrize(("user", "password"), [("a:da", "canary"), ("ada", "canary-ü"), ("ädä", "canary")])
def test_a_login_that_browsers_would_send_in_different_ways_is_refused(user: str, password: str) -> None:
    with pytest.raises(WrongSettings, match="ASCII") as raised:
        Login.of(settings("development", user, password))

    assert "canary" not in str(raised.value)


def test_only_the_login_itself_opens() -> None:
    login = Login.of(settings("production", "ada", "secret: one"))
    assert login is not None

    assert login.opens(basic("ada:secret: one"))
    wrong = [
        "",
        "Basic",
        "Basic ",
        "Basic %%%",
        basic("ada:"),
        basic("ada:secret: two"),
        basic("ada:secret: one "),
        basic("ada:sécret: one"),
        basic("Ada:secret: one"),
        basic("ada:secret: one").replace("Basic", "Bearer"),
        "Basic ada:secret: one",
    ]
    assert [given for given in wrong if login.opens(given)] == []


def test_a_login_does_not_show_its_password() -> None:
    assert "canary" not in repr(Login("ada", "canary"))


def test_only_names_of_this_machine_are_local() -> None:
    assert all(map(is_local, ["localhost", "127.0.0.1", "127.8.0.1", "::1", "[::1]"]))
    assert not any(map(is_local, ["", "0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"]))  # noqa: S104
