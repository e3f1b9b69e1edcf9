"""`trivet bench`: throughput, latency and what they hang on, side by side with others, in one run."""

import importlib
import signal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from worker.errors import TrivetError

NEEDS_A_CHECKOUT: Final = (
    "the benchmark is not part of the installed package: run it in a checkout of the repository, where `make test`"
    " has set up the environment"
)


class NoCheckout(TrivetError):
    """The benchmark is not here."""


def register(app: typer.Typer) -> None:
    """Add the command `bench` to `app`."""
    app.command()(bench)


def bench(
    *,
    against: Annotated[
        str | None,
        typer.Option(
            help="Beside whom, with commas between: celery, celery-orm, pgbench, and peers by name.",
            show_default="all",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODE",
            help="Only this one of throughput, enqueue, latency, growth, idle, overhead, scaling; may be repeated.",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=20, max=100_000, help="How many jobs a round.", show_default="by mode")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turn.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="A folder for charts of the figures, as SVG.")] = None,
) -> None:
    """Measure on servers of its own, in alternating rounds, and hold the figures against the targets.

    After each run money, outcomes, documents and events are checked, or its figure does not count. Other queues are
    installed into environments of their own when they are first asked for. It takes most of an hour; on a machine
    that does something else meanwhile, the figures are worth little. Needs a checkout of the repository.

    Exits 0 when everything was measured, also where a target is missed, and 1 when a check failed.

    Example: trivet bench --only throughput --against celery,pgbench --jobs 5000
    """
    running, showing = _load("running"), _load("showing")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it, too, stops what was started
    result = showing.show(running.Asked.of(against, only or [], jobs, rounds), plots=plots, as_json=as_json)
    if not result:
        raise typer.Exit(1)


def _load(name: str) -> Any:
    """A module of the checkout's `bench`. Raises `NoCheckout`."""
    try:
        return importlib.import_module(f"bench.{name}")
    except ModuleNotFoundError as error:
        raise NoCheckout(f"{NEEDS_A_CHECKOUT} (there is no module {error.name})") from error
