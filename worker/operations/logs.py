"""Logs: events with fields, ours and other libraries' through one formatter, with the secrets taken out.

Celery puts handlers of its own in place unless something is connected to its signal `setup_logging`; the
process that runs Celery calls `configure_logs` from there.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, TimeStamper, add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.redaction import HIDDEN, SECRET_FIELD, redact
from worker.settings import Settings

_LOGGER = "trivet"
_QUIET = {
    # These write the values of statements, commands and results at lower levels.
    "sqlalchemy": logging.WARNING,
    "alembic": logging.WARNING,
    "psycopg": logging.ERROR,  # warns of a pipeline that a refused statement aborted, which is our daily bread
    "pymongo": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    "tornado.access": logging.ERROR,  # warns of each request that a browser sends before it asks for the login
    "tornado.general": logging.ERROR,  # warns of what was told to whoever asked
    "flower": logging.WARNING,
    "flower.inspector": logging.ERROR,  # warns whenever no worker answers, and before the first one does
}

_SHORTEST_SECRET = 8  # taking shorter ones out wherever they appear would garble words
_PASSWORD = re.compile(r"://[^\s:/@]*:([^\s/?#]+)@")


def configure_logs(settings: Settings, **bound: object) -> None:
    """Send every log event of this process to stderr, each with the fields `bound` (its node, its role).

    Call it again after fork with what is known then. At a level that is off, a call of a logger does nothing.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(settings, bound))
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    logging.getLogger(_LOGGER).setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, quiet))
    structlog.configure(
        # All the rest happens in the handler, so that loggers used before a fork follow what it says.
        processors=[structlog.contextvars.merge_contextvars, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # By way of `logging`, whose locks survive a fork.
        logger_factory=lambda *_: logging.getLogger(_LOGGER),
        cache_logger_on_first_use=True,
    )


def _formatter(settings: Settings, bound: Mapping[str, object]) -> ProcessorFormatter:
    def bind(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**bound, **event}

    return ProcessorFormatter(
        foreign_pre_chain=[add_logger_name],  # which library it is that speaks
        processors=[
            ProcessorFormatter.remove_processors_meta,
            bind,
            add_log_level,
            TimeStamper(fmt="iso", utc=True),
            _hide_fields,
            *_rendering(settings),
            _hider(settings),
        ],
    )


def _rendering(settings: Settings) -> list[Processor]:
    if settings.log_format == "json":
        return [format_exc_info, JSONRenderer(default=str)]
    # Prettier tracebacks show local variables, and those hold payloads.
    return [ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)]


def _hide_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: _hidden(key, value) for key, value in event.items()}


def _hidden(key: object, value: object) -> object:
    """Return `value` as it may be shown under `key`, however deep a secret's name stands in it."""
    if isinstance(key, str) and SECRET_FIELD.search(key):
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: _hidden(inner, item) for inner, item in value.items()}
    if isinstance(value, list):
        return [_hidden(None, item) for item in value]
    return value


def _hider(settings: Settings) -> Processor:
    """Take secrets out of the rendered text: by their form, and this process' own by what they are."""
    own = "|".join(re.escape(secret) for secret in sorted(_own_secrets(settings), key=len, reverse=True))
    pattern = re.compile(own or r"(?!)")

    def hide(_logger: WrappedLogger, _method: str, rendered: Any) -> str:
        return pattern.sub(HIDDEN, redact(rendered))

    return hide


def _own_secrets(settings: Settings) -> set[str]:
    urls = (settings.postgres_url, settings.mongo_url, settings.redis_url)
    found = [password for url in urls for password in _PASSWORD.findall(url.get_secret_value())]
    plain = {*found, *map(unquote, found), settings.flower_password.get_secret_value()}
    escaped = {json.dumps(secret)[1:-1] for secret in plain}
    return {secret for secret in plain | escaped if len(secret) >= _SHORTEST_SECRET}
