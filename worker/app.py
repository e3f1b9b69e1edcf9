"""The composition root: makes the Celery app, and opens every client in its process, after fork."""

import time
from importlib import import_module
from typing import Any, Final

import structlog
from celery import Celery, signals
from celery.worker import state

from worker.delivery.node import Node
from worker.errors import WrongSettings
from worker.intake.collector import keep_quiet
from worker.intake.control import show_gathered
from worker.intake.node import IntakeNode
from worker.intake.pool_process import close_process, open_process
from worker.intake.task import register_jobs
from worker.intake.task_events import TaskEvents
from worker.intake.transport import Transport
from worker.settings import Settings, read_settings

NOT_OPENED_AGAIN_S: Final = 1.0
"""How long a pool process waits before it ends because it cannot open its clients."""

_log = structlog.get_logger()


class App(Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery app that knows its settings, and in a worker its node."""

    settings: Settings
    node: Node
    intake: IntakeNode | None = None
    controller: Any = None

    def serve(self, consumer: Any) -> None:
        """Let the intake node use this consumer's pool and clock; told anew for each connection and task."""
        if self.intake is not None and self._served != (id(consumer), consumer.restart_count):
            self._served = (id(consumer), consumer.restart_count)
            revoked = consumer.controller.state.revoked
            self.intake.serve(consumer.pool, consumer.timer, revoked, TaskEvents(consumer))

    def leave(self) -> None:
        """Hand back all messages and stop being a node, if this process is one."""
        if self.intake is not None:
            self.intake.leave()

    @property
    def exit_code(self) -> int:
        """How the worker of this process ended: 0, unless an error or a second signal ended it."""
        asked = _is_asked(state.should_stop) and not _is_asked(state.should_terminate)
        # Celery counts the first Ctrl-C as a failure too.
        return 0 if asked else getattr(self.controller, "exitcode", None) or 0

    _served = (0, 0)


def _is_asked(code: int | None) -> bool:
    return code is not None and code is not False  # 0 is asked


def make_app() -> App:
    """Read the settings, import the task modules that `celeryconfig` names, make each job a task."""
    app = App(
        "trivet",
        config_source="celeryconfig",
        amqp="worker.intake.reconnecting:AMQP",
        events="worker.intake.task_events:Events",
        task_cls="worker.intake.task:SpecialTask",
    )
    app.settings = read_settings()
    _refuse_another_prefix(app)
    for module in app.conf.imports:
        import_module(module)
    register_jobs(app)
    return app


def _refuse_another_prefix(app: App) -> None:
    ours, given = app.settings.queue_prefix, app.conf.broker_transport_options.get("global_keyprefix", "")
    if given != ours:
        raise WrongSettings(
            f"Celery's global_keyprefix is {given!r}, and TRIVET_QUEUE_PREFIX is {ours!r}: set the latter only, or"
            " jobs that are tried again go to a queue that nobody reads"
        )


app = make_app()

QUEUES = tuple(route["queue"] for route in app.conf.task_routes.values())
"""Every queue that jobs are routed to."""


@signals.setup_logging.connect
def _leave_logs_alone(**_: Any) -> None:
    """Keep Celery from configuring logs: that is done where the process starts."""


@signals.worker_init.connect
def _become_node(sender: Any, **_: Any) -> None:
    app.controller = sender
    # Before the pool forks: its processes inherit what a node shares, and how often garbage is collected.
    keep_quiet()
    app.node = Node()
    app.intake = IntakeNode(app.settings, app.tasks)
    show_gathered()
    Transport.intake = app.intake


@signals.worker_process_init.connect
def _open(**_: Any) -> None:
    try:
        open_process(app.settings, app.node, app.tasks)
    except Exception as error:
        # Celery would go on with a process that can do nothing; of one that ends, the pool makes another.
        _log.exception("process.not_opened")
        time.sleep(NOT_OPENED_AGAIN_S)
        raise SystemExit(1) from error


@signals.worker_process_shutdown.connect
def _close(**_: Any) -> None:
    close_process()


@signals.worker_shutting_down.connect
def _start_nothing_more(**_: Any) -> None:
    if app.intake is not None:
        app.intake.close()


@signals.worker_shutdown.connect
def _leave(**_: Any) -> None:
    app.leave()
