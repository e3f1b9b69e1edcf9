"""`trivet flower`: Celery's web page on workers and tasks, behind a login."""

from typing import Annotated

import typer

from worker.errors import WrongSettings
from worker.operations.flower_login import LOCALHOST, Login, is_local
from worker.operations.logs import configure_logs
from worker.settings import read_settings
from worker.stores.redis import open_redis


def register(app: typer.Typer) -> None:
    """Add the command `flower` to `app`."""
    app.command()(flower)


def flower(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 takes any free one.")] = 5555,
    address: Annotated[
        str, typer.Option(help="Where to listen. Without a login, only an address of this machine will do.")
    ] = "127.0.0.1",
    enable_events: Annotated[
        bool, typer.Option(help="Switch task events on in all workers, every 5 s. Without, no task is seen.")
    ] = True,
    max_tasks: Annotated[int, typer.Option(min=1, help="Tasks to keep in memory; the oldest go first.")] = 10_000,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only look: no page and no call of the API changes anything.")
    ] = False,
) -> None:
    """Serve Flower in the foreground, with the login of TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD.

    In production it does not start without a login. In development it does, and then only looks, from this machine
    alone.

    Example: trivet flower --port 5555
    """
    settings = read_settings()
    configure_logs(settings, role="flower")
    login = Login.of(settings)
    if login is None and not is_local(address):
        raise WrongSettings(
            f"without a login Flower listens on {LOCALHOST} only: set TRIVET_FLOWER_USER and"
            f" TRIVET_FLOWER_PASSWORD for --address {address or '(all)'}"
        )
    from worker.app import QUEUES, app  # noqa: PLC0415 - reads the settings when it is imported
    from worker.intake.queues import Queues  # noqa: PLC0415 - `--help` need not wait for it
    from worker.operations.flower_app import Asked, run_flower  # noqa: PLC0415 - `--help` need not wait for Flower

    asked = Asked(address, port, enable_events, max_tasks, read_only)
    with open_redis(settings) as redis:
        queues = Queues(redis, app.conf.broker_transport_options.get("global_keyprefix", ""))
        run_flower(app, queues, QUEUES, login, asked)
