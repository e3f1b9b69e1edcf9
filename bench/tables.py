"""The result on a terminal: each target with its figure, then the rates."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.targets import TARGETS, verdict


def in_tables(result: Mapping[str, Any]) -> RenderableType:
    """All that was measured, and why what is missing is missing."""
    parts: list[RenderableType] = []
    if result["targets"]:
        parts.append(_targets(result))
    more = result["ratios"].keys() - {target.key for target in TARGETS}
    if more:
        parts.append(_more(result, sorted(more)))
    if rates := result["runs"].get("throughput"):
        parts.append(_rates(rates))
    for title, key in (("cannot run here", "cannot_run"), ("failed", "failed")):
        parts += [Text(f"{title}: {name}: {reason}") for name, reason in result[key].items()]
    return Group(*parts)


def figure(value: float) -> str:
    """A ratio with as many digits as say something."""
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.2f}"


def spread(result: Mapping[str, Any], key: str) -> str:
    """The least and the greatest of the rounds; a dash where there was one figure only."""
    low_high = result["spreads"].get(key)
    return f"{figure(low_high[0])} – {figure(low_high[1])}" if low_high else "–"


def _table(title: str, first: str, *figures: str) -> Table:
    table = Table(first, title=title, title_justify="left")
    for name in figures:
        table.add_column(name, justify="right")
    return table


def _targets(result: Mapping[str, Any]) -> Table:
    table = _table("Targets", "what", "figure", "spread", "target")
    table.add_column("")
    for target in TARGETS:
        if target.key in result["targets"]:
            judged = result["targets"][target.key]
            said = Text(verdict(target, judged), style="green" if judged["met"] else "red")
            table.add_row(target.what, figure(judged["value"]), spread(result, target.key), str(target), said)
    return table


def _more(result: Mapping[str, Any], keys: list[str]) -> Table:
    table = _table("Other ratios", "key", "ratio", "spread")
    for key in keys:
        table.add_row(key, figure(result["ratios"][key]), spread(result, key))
    return table


def _rates(rates: Mapping[str, Any]) -> Table:
    table = _table("Throughput", "who", "transfers/s", "spread", "jobs a round")
    for name, run in sorted(rates.items(), key=lambda item: -item[1]["median"]):
        between = f"{run['min']:,.0f} – {run['max']:,.0f}"
        table.add_row(name, f"{run['median']:,.0f}", between, f"{run['jobs']:,}")
    return table
