"""`trivet`: one command, one file for each subcommand."""

import importlib
import sys

import typer

from worker.errors import TrivetError

COMMANDS = ("dev", "worker", "migrate", "check", "enqueue", "jobs")
"""The modules of this package; each registers itself on the `app` that it is given."""

app = typer.Typer(
    name="trivet",
    help="Background jobs on PostgreSQL, MongoDB and Redis, each with its effect exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 1."""
    for name in COMMANDS:
        importlib.import_module(f"worker.operations.cli.{name}").register(app)
    try:
        app()
    except TrivetError as error:
        print(f"trivet: {error}", file=sys.stderr)
        sys.exit(1)
