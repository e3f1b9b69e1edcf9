"""What can end a demo before it has a summary."""

from pathlib import Path

from worker.errors import TrivetError

TAIL_LINES = 15
TAIL_BYTES = 16_384


class DemoFailed(TrivetError):
    """The demo could not be brought to its end."""


def last_words(log: Path) -> str:
    """The last lines of a log, indented, to be shown below an error."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines or ["(it is empty)"])
