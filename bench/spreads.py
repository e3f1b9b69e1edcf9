"""How far the rounds of a mode differ: the ratio of each round, where one is formed of two series of runs."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Formed(NamedTuple):
    """Of what a ratio is formed: a figure of one series of a mode's runs, over a figure of another."""

    mode: str
    above: tuple[str, str]
    below: tuple[str, str]


FORMED: Final = {
    "enqueue_many": Formed("enqueue", ("enqueue_many", "rate"), ("send_task", "rate")),
    "latency_p50": Formed("latency", ("trivet", "p50_ms"), ("celery", "p50_ms")),
    "latency_p99_over_p50": Formed("latency", ("trivet", "p99_ms"), ("trivet", "p50_ms")),
    "growth": Formed("growth", ("long", "rate"), ("short", "rate")),
    "memory_growth": Formed("growth", ("long", "memory_mib"), ("short", "memory_mib")),
    "with_events": Formed("overhead", ("watched", "rate"), ("unwatched", "rate")),
    "two_nodes": Formed("scaling", ("random 2", "rate"), ("random 1", "rate")),
    "four_nodes": Formed("scaling", ("random 4", "rate"), ("random 1", "rate")),
}

IDLE: Final = ("requests_per_s", "cpu")


def spreads(runs: Mapping[str, Any]) -> dict[str, list[float]]:
    """The least and the greatest of the rounds, by the key of the ratio or of the idle figure."""
    by_round = {
        key: [
            one / other for one, other in zip(_figures(runs, mode, above), _figures(runs, mode, below), strict=True)
        ]
        for key, (mode, above, below) in FORMED.items()
    } | {key: _figures(runs, "idle", ("idle", key)) for key in IDLE}
    return {key: [round(min(found), 4), round(max(found), 4)] for key, found in by_round.items() if found}


def _figures(runs: Mapping[str, Any], mode: str, place: tuple[str, str]) -> list[float]:
    """The figure of each round; none when the mode was not measured."""
    series, figure = place
    return [run[figure] for run in runs[mode][series]["rounds"]] if mode in runs else []
