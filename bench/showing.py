"""Run the benchmark and show what it found: tables or one JSON object on stdout, progress on stderr, charts."""

import json
import tempfile
from pathlib import Path

from rich.console import Console

from bench.running import Asked, WrongRequest, run_bench
from bench.tables import in_tables
from bench.telling import progress


def show(asked: Asked, *, plots: Path | None, as_json: bool) -> bool:
    """Measure what is asked for; returns whether everything counts: something was measured, and no check failed."""
    if plots is not None:
        _require_writable(plots)
    with progress(Console(stderr=True)) as tell:
        result = run_bench(asked, tell)
    if as_json:
        print(json.dumps(result))
    else:
        Console().print(in_tables(result))
    # Last of all: whatever is wrong with the folder by now, the figures of an hour are on stdout.
    if plots is not None:
        from bench.plots import draw  # noqa: PLC0415 - only who wants charts needs the library

        draw(result, plots)
    return bool(result["runs"]) and not result["failed"]


def _require_writable(folder: Path) -> None:
    """Make the folder, before anything is measured. Raises `WrongRequest` where no file can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WrongRequest(f"--plots: no chart can be written into {str(folder)!r}: {error.strerror}") from error
