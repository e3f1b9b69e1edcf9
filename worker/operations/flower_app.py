"""Flower in this process, on our terms: behind a login, or only to be looked at, from this machine."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from flower.app import Flower
from flower.options import options
from flower.urls import settings as flowers_settings
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from worker.errors import TrivetError
from worker.intake.queues import Queues
from worker.operations.flower_login import LOCALHOST, Login, is_local
from worker.operations.flower_pages import BrokerPage, QueueLengths, Revoke
from worker.redaction import redact

HEALTH: Final = "/healthcheck"
"""The one path that is open to all: it says `OK`, and nothing else."""

COLUMNS: Final = "name,state,exception,received,runtime,worker,uuid"
"""Of the tasks page: a job's code stands in its exception; arguments and results are hidden anyway."""

_PAGES: Final = [
    (r"/broker", BrokerPage),
    (r"/api/queues/length", QueueLengths),
    (r"/api/task/revoke/(.+)", Revoke),
]

_log = structlog.get_logger()


class NotListening(TrivetError):
    """Flower cannot listen where it was told to."""


@dataclass(frozen=True)
class Asked:
    """What an operator may choose: `tasks_max` is how many tasks are kept in memory."""

    address: str
    port: int
    enable_events: bool
    tasks_max: int
    read_only: bool


class Watch(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower's application with a gate in front of all of it, its metrics and static files too."""

    def __init__(self, celery_app: Any, queues: Queues, queue_names: Sequence[str], login: Login | None) -> None:
        self.queues = queues
        self.queue_names = queue_names
        self._login = login
        self.broker_uri = redact(celery_app.conf.broker_url)  # Flower's own names our transport as the scheme
        super().__init__(capp=celery_app, options=options, **flowers_settings)
        self.add_handlers(r".*", _PAGES)  # before Flower's own

    def find_handler(self, request: HTTPServerRequest, **given: Any) -> Any:
        """Route a request, or turn it away."""
        if (why := self._refusal(request)) and request.path != HEALTH:
            return self.get_handler_delegate(request, _TurnedAway, {"why": why, "ask": self._login is not None})
        return super().find_handler(request, **given)

    def _refusal(self, request: HTTPServerRequest) -> str:
        if self._login is not None:
            return self._checked(self._login, request)
        if not is_local(request.host_name):  # a page elsewhere whose name was bent to this machine
            return f"Without a login, Flower answers to {LOCALHOST} only"
        if request.path.startswith("/api/"):
            return "The API needs a login: set TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD"
        return ""

    @staticmethod
    def _checked(login: Login, request: HTTPServerRequest) -> str:
        given = request.headers.get("Authorization", "")
        if login.opens(given):
            return ""
        if given:  # not the first request of a browser, which then asks
            _log.warning("flower.login_refused", client=request.remote_ip, path=request.path)
        return "Access denied"


class _TurnedAway(RequestHandler):
    def initialize(self, *, why: str, ask: bool) -> None:
        self._why = why
        self._ask = ask

    def prepare(self) -> None:
        self.set_status(401 if self._ask else 403)
        if self._ask:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{self._why}\n")


def run_flower(
    celery_app: Any, queues: Queues, queue_names: Sequence[str], login: Login | None, asked: Asked
) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `NotListening` when it cannot listen at the address and port."""
    _configure(login, asked)
    watch = Watch(celery_app, queues, queue_names, login)
    try:
        port = watch.start_http_server()
    except (OSError, OverflowError) as error:
        raise NotListening(
            f"Flower cannot listen on {asked.address}:{asked.port}: {error}; choose another --port or --address"
        ) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watch.io_loop.add_callback_from_signal(watch.stop))
    _log.info("flower.listening", url=f"http://{asked.address}:{port}", read_only=options.read_only)
    watch.start()


def _configure(login: Login | None, asked: Asked) -> None:
    """Set Flower's options, which are the process' own; no file and no other variable is read for them."""
    os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)  # read at each request, it opens the API to every web page
    options.address = asked.address
    options.port = asked.port
    options.enable_events = asked.enable_events
    options.max_tasks = asked.tasks_max
    options.basic_auth = [login.pair] if login else []
    options.read_only = asked.read_only or login is None
    options.tasks_columns = COLUMNS
