"""`trivet`: one command, one file for each subcommand."""

import importlib
import sys
from collections.abc import Sequence

import typer

from worker.errors import TrivetError

COMMANDS = (
    *("dev", "demo", "up", "worker", "beat", "flower", "migrate", "check"),
    *("enqueue", "jobs", "parked", "queues", "schedule", "events", "bench"),
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
    """Run the command line; an error of ours is one line on stderr and exit code 1, one of usage exit code 2."""
    register_commands(sys.argv[1:2])
    try:
        _refuse_undecodable(sys.argv[1:])
        ended = app(prog_name="trivet", standalone_mode=False)
    except typer.TyperException as error:
        sys.exit(_usage(error))
    except typer.Abort:
        _tell("nothing was done: it was not confirmed")
        sys.exit(1)
    except TrivetError as error:
        _tell(str(error))
        sys.exit(1)
    sys.exit(ended if isinstance(ended, int) else 0)


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    """Refuse bytes that are no UTF-8: no store takes them."""
    for argument in arguments:
        if not argument.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise typer.BadParameter(f"{argument!a} is no text in UTF-8")


def _usage(error: typer.TyperException) -> int:
    # Asked for a group alone, it has printed the help and says nothing.
    if told := " ".join(error.format_message().split()).rstrip(".?"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "trivet"
        _tell(f"{told[0].lower()}{told[1:]}; see {command} --help")
    return error.exit_code


def _tell(problem: str) -> None:
    print(f"trivet: {problem}", file=sys.stderr)


def register_commands(asked_for: Sequence[str] = ()) -> None:
    """Register the command that is asked for, or all of them: importing what is not needed takes seconds."""
    for name in set(asked_for) & set(COMMANDS) or COMMANDS:
        importlib.import_module(f"worker.operations.cli.{name}").register(app)
