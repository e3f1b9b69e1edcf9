"""`trivet dev`: the embedded servers, to work with."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from worker.operations import embedded

Folder = Annotated[Path, typer.Option(help="Where the data of the servers lies.", show_default=True)]


def register(app: typer.Typer) -> None:
    """Add `trivet dev` with its sub-commands."""
    dev = typer.Typer(
        help="The embedded servers: PostgreSQL, MongoDB and Redis from PyPI.\n\nExample: trivet dev start",
        no_args_is_help=True,
    )
    for command in (start, stop, status, env):
        dev.command()(command)
    app.add_typer(dev, name="dev")


def start(folder: Folder = embedded.FOLDER) -> None:
    """Start the servers; they stay up until `trivet dev stop`. Those that run are left as they are.

    Example: trivet dev start && eval "$(trivet dev env)"
    """
    embedded.start(folder)
    status(folder)


def stop(folder: Folder = embedded.FOLDER) -> None:
    """Stop the servers; their data and ports stay for the next start.

    Example: trivet dev stop
    """
    embedded.stop(folder)


def status(
    folder: Folder = embedded.FOLDER,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array instead of a table.")] = False,
) -> None:
    """Show each server: version, pid, port, data folder, and whether it is up.

    Example: trivet dev status --json
    """
    servers = embedded.status(folder)
    if as_json:
        print(json.dumps([dataclasses.asdict(server) for server in servers], default=str, indent=2))
    else:
        Console().print(_table(servers))


def env(folder: Folder = embedded.FOLDER) -> None:
    """Print the settings of a worker that uses these servers, for the shell; they hold a password.

    Example: eval "$(trivet dev env)"
    """
    for name, value in embedded.running_urls(folder).environment().items():
        print(f"export {name}={shlex.quote(value)};")


def _table(servers: list[embedded.ServerStatus]) -> Table:
    path = Column("data folder", overflow="fold")
    table = Table("server", "version", "pid", "port", path, "up")
    for server in servers:
        facts = (server.server, server.version, server.pid, server.port, server.data)
        cells = ["-" if fact is None else str(fact) for fact in facts]
        table.add_row(*cells, "[green]yes[/]" if server.up else "[red]no[/]")
    return table
