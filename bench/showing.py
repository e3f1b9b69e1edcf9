"""Run the benchmark and show what it found: tables or one JSON object on stdout, progress on stderr, charts."""

import json
from pathlib import Path

from rich.console import Console

from bench.running import Asked, run_bench
from bench.tables import in_tables
from bench.telling import progress


def show(asked: Asked, *, plots: Path | None, as_json: bool) -> bool:
    """Measure what is asked for; returns whether everything counts: something was measured, and no check failed."""
    with progress(Console(stderr=True)) as tell:
        result = run_bench(asked, tell)
        if plots is not None:
            from bench.plots import draw  # noqa: PLC0415 - only who wants charts needs the library

            draw(result, plots)
    if as_json:
        print(json.dumps(result))
    else:
        Console().print(in_tables(result))
    return bool(result["runs"]) and not result["failed"]
