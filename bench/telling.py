"""How far a measurement is, for people who wait: lines, and on a terminal a sign of life."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Yield what prints a line; a terminal shows beneath it that something is running."""
    if not console.is_terminal:
        yield lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    with console.status("measuring …") as status:

        def tell(line: str) -> None:
            console.print(line, markup=False, highlight=False)
            status.update(f"measuring; the last was: {escape(line)}")

        yield tell
