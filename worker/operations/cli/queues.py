"""`trivet queues`: what waits, who holds what, and stopping the intake of a queue for a while."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker.intake.queues import Overview, Queues
from worker.operations.logs import configure_logs
from worker.settings import read_settings
from worker.stores.redis import open_redis
from worker.stores.redis_errors import redis_trouble

Name = Annotated[str, typer.Argument(help="The queue.")]


def register(app: typer.Typer) -> None:
    """Add the commands `queues ls | pause | resume` to `app`."""
    queues = typer.Typer(help="The queues: what waits, who holds what; pause and resume.", no_args_is_help=True)
    queues.command()(ls)
    queues.command()(pause)
    queues.command()(resume)
    app.add_typer(queues, name="queues")


def ls(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show how many messages wait in each queue, and the nodes with what they hold and their leases.

    Example: trivet queues ls
    """
    from worker.app import QUEUES  # noqa: PLC0415 - reads the settings when it is imported

    with _queues() as queues:
        overview = queues.overview(QUEUES)
    if as_json:
        print(json.dumps(asdict(overview), default=sorted))
    else:
        Console().print(_waiting(overview), _nodes(overview))


def pause(queue: Name) -> None:
    """Let no node take anything more from a queue; producers go on, and what is in hand is finished.

    Example: trivet queues pause accounts
    """
    from worker.app import QUEUES  # noqa: PLC0415 - reads the settings when it is imported

    with _queues() as queues:
        queues.pause(queue)
    if queue not in QUEUES:
        print(
            f"note: no job here has the queue {queue}; those that have jobs: {', '.join(QUEUES)}", file=sys.stderr
        )
    print(f"{queue} is paused; to go on: trivet queues resume {queue}")


def resume(queue: Name) -> None:
    """Let the nodes take from a queue again.

    Example: trivet queues resume accounts
    """
    with _queues() as queues:
        queues.resume(queue)
    print(f"{queue} is taken from again")


@contextmanager
def _queues() -> Iterator[Queues]:
    settings = read_settings()
    configure_logs(settings, role="queues")
    with redis_trouble(), open_redis(settings) as redis:
        yield Queues(redis, settings.queue_prefix)


def _waiting(overview: Overview) -> Table:
    table = Table("queue", "waiting", "")
    for queue, depths in overview.depths.items():
        table.add_row(queue, f"{sum(depths.values()):,}", "paused" if queue in overview.paused else "")
    for queue in sorted(overview.paused - overview.depths.keys()):
        table.add_row(queue, "", "paused, and no job here has it")
    return table


def _nodes(overview: Overview) -> Table:
    table = Table("node", "in hand", "running", "lease", title=f"{overview.suspects} suspects")
    for name, node in overview.nodes.items():
        lease = f"{node.lease_ms / 1000:.1f} s left" if node.lease_ms else "run out"
        table.add_row(name, f"{node.held:,}", f"{node.running:,}", lease)
    return table
