"""`trivet`: one command, one file for each subcommand."""

import importlib
import sys
from collections.abc import Sequence

import typer

from worker.errors import TrivetError

COMMANDS = (
    *("dev", "demo", "up", "worker", "beat", "flower", "migrate", "check"),
    *("enqueue", "jobs", "parked", "queues", "schedule", "events"),
)
"""The modules of this package; each registers itself on the `app` that it is given."""

app = typer.Typer(
    name="trivet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _group() -> None:
    """Background jobs on PostgreSQL, MongoDB and Redis, each with its effect exactly once."""


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 1."""
    register_commands(sys.argv[1:2])
    try:
        app()
    except TrivetError as error:
        print(f"trivet: {error}", file=sys.stderr)
        sys.exit(1)


def register_commands(asked_for: Sequence[str] = ()) -> None:
    """Register the command that is asked for, or all of them: importing what is not needed takes seconds."""
    for name in set(asked_for) & set(COMMANDS) or COMMANDS:
        importlib.import_module(f"worker.operations.cli.{name}").register(app)
