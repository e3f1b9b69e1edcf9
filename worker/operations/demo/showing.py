"""Shows how far the demo is, on stderr: steps that are done, then a bar of the jobs that have ended."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from worker.operations.demo.watching import Look


class Show:
    """The terminal of a demo."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step while it is taken, and how long it took."""
        began = time.monotonic()
        with self._console.status(f"{name} …"):
            yield
        self._console.print(f"[green]✓[/] {name:<58}[dim]{time.monotonic() - began:6.1f} s[/]", highlight=False)

    @contextmanager
    def bar(self, jobs: int) -> Iterator["Bar"]:
        """Show a bar for so many jobs."""
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("jobs ended"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            yield Bar(progress, jobs)


class Bar:
    """The bar: jobs that have ended, of those accepted."""

    def __init__(self, progress: Progress, jobs: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=jobs)

    def name(self, phase: str) -> None:
        """Say which phase it is."""
        self._progress.update(self._task, description=phase)

    def show(self, look: Look) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=look.ended)
