"""Logs: one form for all of them, cheap when off, and never a secret."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest
import structlog

from worker.operations.logs import configure_logs
from worker.redaction import redact
from worker.settings import Settings

URLS = {
    "postgres_url": "postgresql://trivet:canary%2Fone@localhost/trivet",
    "mongo_url": "mongodb://trivet:canary-two@localhost/trivet",
    "redis_url": "redis://:canary-three@localhost/0",
}

Lines = Callable[[], list[dict[str, Any]]]


class Configure(Protocol):
    def __call__(self, settings: dict[str, object], **bound: object) -> None: ...


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """`configure_logs`, undone after the test."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level

    def call(settings: dict[str, object], **bound: object) -> None:
        given: dict[str, Any] = {**URLS, "log_format": "json", **settings}
        configure_logs(Settings(_env_file=None, **given), **bound)

    before = structlog.get_config()
    yield call
    structlog.configure(**before)
    root.setLevel(level)
    logging.getLogger("trivet").setLevel(logging.NOTSET)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """The JSON events on stderr; nothing may be on stdout, which belongs to the commands."""

    def read() -> list[dict[str, Any]]:
        captured = capsys.readouterr()
        assert captured.out == ""
        return [json.loads(line) for line in captured.err.splitlines()]

    return read


def test_an_event_has_its_fields_its_level_what_is_bound_and_the_time_in_utc(
    configure: Configure, lines: Lines
) -> None:
    configure({}, node="n1", role="worker")

    structlog.get_logger().info("batch.committed", jobs=3)

    [line] = lines()
    time = datetime.fromisoformat(line.pop("timestamp"))
    assert time.utcoffset() == timedelta(0)
    assert line == {"event": "batch.committed", "jobs": 3, "level": "info", "node": "n1", "role": "worker"}


def test_what_is_bound_once_to_a_job_is_in_each_of_its_events(configure: Configure, lines: Lines) -> None:
    configure({})

    with structlog.contextvars.bound_contextvars(job="j1"):
        structlog.get_logger().info("job.started")
    structlog.get_logger().info("batch.committed")

    assert [line.get("job") for line in lines()] == ["j1", None]


def test_other_libraries_speak_in_the_same_form(configure: Configure, lines: Lines) -> None:
    configure({}, node="n1")

    logging.getLogger("celery.worker").warning("%s is %s", "all", "well")

    [line] = lines()
    assert (line["event"], line["level"], line["logger"], line["node"]) == (
        "all is well",
        "warning",
        "celery.worker",
        "n1",
    )


def test_an_event_below_the_level_is_not_made(configure: Configure, lines: Lines) -> None:
    configure({"log_level": "warning"})
    log = structlog.get_logger()

    log.info("job.succeeded")
    log.warning("job.parked")

    assert not log.is_enabled_for(logging.INFO)
    assert [line["event"] for line in lines()] == ["job.parked"]


@pytest.mark.parametrize("library", ["sqlalchemy.engine.Engine", "pymongo.command", "psycopg", "celery.pool"])
def test_libraries_that_log_values_at_debug_are_kept_quiet(
    library: str, configure: Configure, lines: Lines
) -> None:
    configure({"log_level": "debug"})

    logging.getLogger(library).debug("insert canary")
    structlog.get_logger().debug("query")

    assert [line["event"] for line in lines()] == ["query"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        {"password": "canary"},
        {"flower_password": "canary"},
        {"headers": {"Authorization": "Bearer canary"}},
        {"items": [{"api_token": "canary"}]},
        {"client_secret": {"a": "canary"}},
        {"url": "postgresql://u:canary@h/db"},
        {"text": "tried redis://:canary@h:1/0 and mongodb://u:can@ary@h1,h2/x"},
        {"text": "connect host=h password=canary dbname=x"},
        {"text": 'got {"token": "canary", "x": 1}'},
        {"text": "authorization: Bearer canary"},
        {"text": "the server said canary-two was wrong"},
        {"text": "the server said canary/one was wrong"},
        {"error": ValueError("redis://:canary@h")},
        {"settings": Settings(_env_file=None, **URLS)},  # type: ignore[arg-type]  # pydantic makes secrets of them
    ],
)
def test_a_secret_never_shows(
    fields: dict[str, object], form: str, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure({"log_format": form})

    structlog.get_logger().warning("store.away", **fields)

    shown = capsys.readouterr().err
    assert "store.away" in shown
    assert "can" not in shown
    assert "ary" not in shown


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_where_but_neither_secrets_nor_the_values_of_variables(
    form: str, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure({"log_format": form})
    payload = "a private payload"

    try:
        raise RuntimeError("cannot reach redis://:canary@h", len(payload))  # noqa: TRY301 - it is the traceback that counts
    except RuntimeError:
        structlog.get_logger().exception("job.failed")

    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "cannot reach redis://:***@h" in shown
    assert "canary@" not in shown
    assert shown.count("a private payload") == 0


def test_a_secret_of_another_librarys_event_does_not_show(configure: Configure, lines: Lines) -> None:
    configure({})

    logging.getLogger("kombu").error("cannot connect to %s", "redis://:canary@h:6379//")

    assert [line["event"] for line in lines()] == ["cannot connect to redis://:***@h:6379//"]


def test_text_that_is_no_valid_unicode_harms_no_event(configure: Configure, lines: Lines) -> None:
    configure({})

    structlog.get_logger().info("job.rejected", field="\ud800\x00\n")

    assert [line["field"] for line in lines()] == ["\ud800\x00\n"]


def test_configuring_again_after_a_fork_reaches_loggers_that_were_used_before(
    configure: Configure, lines: Lines
) -> None:
    configure({}, role="parent")
    log = structlog.get_logger()
    log.info("worker.started")

    configure({}, role="child")
    log.info("worker.started")

    assert [line["role"] for line in lines()] == ["parent", "child"]


def test_what_is_no_secret_stays() -> None:
    text = "http://localhost:5555/metrics user@example.org 12:30 tokens left"

    assert redact(text) == text
