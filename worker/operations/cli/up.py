"""`trivet up`: the whole stack, kept running in the foreground."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker.operations import embedded
from worker.operations.embedded import Urls

Folder = Annotated[Path, typer.Option(help="Where the data of the embedded servers lies.", show_default=True)]

COLOURS = {"servers": "magenta", "migrate": "yellow", "worker": "cyan", "beat": "blue", "flower": "green"}
NAME_WIDTH = 8


def register(app: typer.Typer) -> None:
    """Add the command `up` to `app`."""
    app.command()(up)


def up(*, folder: Folder = embedded.FOLDER) -> None:
    """Run the embedded servers, a worker, beat and Flower in the foreground, until Ctrl-C.

    Each line is shown under the name of its process, and what dies is started again. Servers that run already
    are used, and left running. A second Ctrl-C waits for nothing.

    Example: trivet up
    """
    from worker.operations.stack_runner import run_stack  # noqa: PLC0415 - `--help` need not wait for it

    terminal = Terminal(Console(highlight=False, soft_wrap=True), folder)
    terminal.say("servers", "starting PostgreSQL, MongoDB and Redis")
    run_stack(folder, terminal.say, terminal.tell)


class Terminal:
    """Where the stack shows what it says."""

    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._folder = folder

    def say(self, name: str, line: str) -> None:
        """Show a line under the name of its process."""
        prefix = Text(f"{name:<{NAME_WIDTH}} │ ", style=COLOURS.get(name, "white"))
        with suppress(OSError):  # the terminal has gone, and a signal tells us to end
            self._console.print(prefix + Text.from_ansi(line))

    def tell(self, urls: Urls, flower: str) -> None:
        """Say where everything is, without passwords, and how to enqueue a job."""
        from worker.redaction import redact  # noqa: PLC0415 - as above

        told = {"PostgreSQL": redact(urls.postgres), "MongoDB": urls.mongo, "Redis": urls.redis, "Flower": flower}
        table = "\n".join(f"  {name:<12}{url}" for name, url in told.items())
        with suppress(OSError):
            self._console.print(Text(f"\n{table}\n{self._enqueueing(urls.redis)}"))

    def _enqueueing(self, broker: str) -> str:
        folder = "" if self._folder == embedded.FOLDER else f" --folder {shlex.quote(str(self._folder))}"
        return f"""
  Enqueue a job from another shell:

    eval "$(trivet dev env{folder})"
    trivet enqueue users.create '{{"name": "Ada", "email": "ada@example.com"}}' --wait 5

  or from any Celery client:

    Celery(broker="{broker}").send_task(
        "users.create", kwargs={{"name": "Ada", "email": "ada@example.com"}}, queue="users")

  Ctrl-C ends it all.
"""
