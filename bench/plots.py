"""Charts of a result, as SVG: who does how many transfers, how long an idle worker takes, what long queues cost."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pygal
from pygal.style import Style

# It puts a finder for plugins, which are not used here, into every later import; Python warns of its old form.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

OURS: Final = ("trivet", "single-body")
_LOOK: Final = Style(
    background="#ffffff",
    plot_background="#ffffff",
    foreground="#333333",
    foreground_strong="#111111",
    foreground_subtle="#888888",
    colors=("#1f6f8b", "#d98324", "#8a8a8a"),
    font_family="sans-serif",
    label_font_size=14,
    value_font_size=13,
    value_label_font_size=13,
    value_colors=("#111111", "#111111", "#111111"),
    title_font_size=17,
    legend_font_size=14,
)


def draw(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a chart of each mode that was measured and has one; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    charts = {
        "throughput": _throughput,
        "latency": _latency,
        "growth": _growth,
    }
    drawn = []
    for mode, chart in charts.items():
        if runs := result["runs"].get(mode):
            path = folder / f"{mode}.svg"
            path.write_bytes(chart(runs).render() + b"\n")
            drawn.append(path)
    return drawn


def _throughput(runs: Mapping[str, Any]) -> Any:
    ranked = sorted(runs, key=lambda name: float(runs[name]["median"]))  # the first is drawn at the bottom
    chart = _bars(pygal.HorizontalBar, "Transfers a second, median of the rounds; Trivet in blue", ranked)
    chart.height = 90 + 42 * len(ranked)
    colour = {True: _LOOK.colors[0], False: _LOOK.colors[1]}
    chart.add("", [{"value": runs[name]["median"], "color": colour[name in OURS]} for name in ranked])
    chart.show_legend = False
    return chart


def _latency(runs: Mapping[str, Any]) -> Any:
    figures = ("p50_ms", "p99_ms")
    chart = _bars(pygal.Bar, "Idle worker: milliseconds from enqueue to live event", ["p50", "p99"])
    chart.formatter = lambda value: f"{value:.1f}"
    for side, told in runs.items():
        chart.add(side, [told["spreads"][figure]["median"] for figure in figures])
    return chart


def _growth(runs: Mapping[str, Any]) -> Any:
    queued = [f"{round(runs[length]['spreads']['queued']['median']):,} queued" for length in ("short", "long")]
    chart = _bars(pygal.Bar, "The first jobs of a short and of a long queue: jobs a second", queued)
    chart.add("jobs/s", [runs[length]["spreads"]["rate"]["median"] for length in ("short", "long")])
    chart.show_legend = False
    return chart


def _bars(kind: Any, title: str, labels: list[str]) -> Any:
    # No script: a page on the web does not run it, and a chart needs no network.
    chart = kind(style=_LOOK, js=(), width=760, height=380, title=title, legend_at_bottom=True, print_values=True)
    chart.formatter = lambda value: f"{value:,.0f}"
    chart.show_x_guides = chart.show_y_guides = False
    chart.x_labels = labels
    return chart
