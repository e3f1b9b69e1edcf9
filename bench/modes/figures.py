"""Runs as figures: the median with its spread, of one figure or of each in a list of runs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Run = Mapping[str, Any]
"""What one run found, by the figure's name, with the unit in it."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, min and max."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def spreads(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """The spread of each number that all of these runs have."""
    return {
        name: spread([run[name] for run in runs])
        for name in runs[0]
        if all(isinstance(run.get(name), int | float) for run in runs)
    }


def told(runs: Sequence[Run]) -> dict[str, Any]:
    """The runs as they were, and their spreads."""
    return {"rounds": [dict(run) for run in runs], "spreads": spreads(runs)}


def median(runs: Sequence[Run], name: str) -> float:
    """The median of one figure."""
    values: list[float] = [run[name] for run in runs]
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile, between the two values beside it; of a single value, that value."""
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]
