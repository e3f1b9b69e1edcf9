"""Which figures say nothing because what was measured was over too soon.

A node publishes the events of a whole batch at once. A few hundred jobs are one batch, whose first and last events
are milliseconds apart: a rate formed of them is no rate, however high.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bench.lineup import OURS, Pair
from bench.spreads import FORMED

LEAST_S: Final = 0.5
"""The shortest run that counts; several batches of a fast worker."""


def too_short(runs: Mapping[str, Any], jobs: Mapping[str, int], pairs: Mapping[str, Pair]) -> set[str]:
    """The keys of the ratios one side of which had a shorter round; `jobs` is how many a mode was given."""
    return {*_of_throughput(runs.get("throughput", {}), pairs), *_of_modes(runs, jobs)}


def _of_throughput(runs: Mapping[str, Any], pairs: Mapping[str, Pair]) -> Iterator[str]:
    short = {name for name, run in runs.items() if run["jobs"] < LEAST_S * run["max"]}
    yield from (key for key, pair in pairs.items() if short & {pair.ours, pair.other})
    if OURS in short:
        yield "best_peer"


def _of_modes(runs: Mapping[str, Any], jobs: Mapping[str, int]) -> Iterator[str]:
    for key, (mode, *sides) in FORMED.items():
        fastest = [
            max(run["rate"] for run in runs[mode][series]["rounds"])
            for series, figure in sides
            if mode in runs and figure == "rate"
        ]
        if fastest and jobs[mode] < LEAST_S * max(fastest):
            yield key
