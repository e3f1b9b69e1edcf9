"""`trivet demo`: the whole thing at work, and the proof that it adds up."""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.operations import embedded

Folder = Annotated[Path, typer.Option(help="Where the data of the embedded servers lies.", show_default=True)]


def register(app: typer.Typer) -> None:
    """Add the command `demo` to `app`."""
    app.command()(demo)


def demo(
    *,
    jobs: Annotated[int, typer.Option(min=20, help="How many distinct jobs to enqueue.")] = 2_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same workload.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary alone, as one JSON object.")] = False,
    folder: Folder = embedded.FOLDER,
) -> None:
    """Start the servers, a worker and beat, enqueue a mixed workload, and check that everything adds up.

    It works in databases of its own (trivet_demo, and number 15 in Redis), made fresh each time. Servers that
    run already are used and left running. Exits 1 when anything does not add up.

    Example: trivet demo --jobs 5000 --seed 7
    """
    from rich.console import Console  # noqa: PLC0415 - with the next ones, half a second that `--help` need not take

    from worker.operations.demo.running import run_demo  # noqa: PLC0415
    from worker.operations.demo.showing import Show  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it, too, stops what was started
    summary = run_demo(jobs, seed, folder, Show(Console(stderr=True)))
    if as_json:
        print(json.dumps(summary.to_json()))
    else:
        Console().print(summary.to_tables())
    for mismatch in summary.mismatches:
        print(f"trivet: {mismatch}", file=sys.stderr)
    if not summary.ok:
        raise typer.Exit(1)
