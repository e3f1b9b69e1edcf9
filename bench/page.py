"""Put the figures of a result into the documentation: `python -m bench.page RESULT.json`.

RESULT.json is what `trivet bench --json` printed. The page keeps its words; what stands between its two marks is
written anew, and so are the charts beside it. Figures that nobody has measured cannot get there.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.plots import draw
from bench.tables import figure, spread
from bench.targets import TARGETS, verdict
from docs.pages.markdown import table

PAGE: Final = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
BEGIN: Final = "<!-- figures: python -m bench.page RESULT.json -->"
END: Final = "<!-- end of the figures -->"


def write(result: Mapping[str, Any], page: Path) -> None:
    """Replace the figures of a page, and the charts in the folder `performance` beside it.

    A page without the marks is left alone.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} has no place for figures: it needs the lines {BEGIN} and {END}")
    charts = draw(result, page.with_suffix(""))
    page.write_text(before + "\n\n".join([BEGIN, *_figures(result, charts), END]) + after)


def _figures(result: Mapping[str, Any], charts: list[Path]) -> Iterator[str]:
    yield _where(result)
    yield table(["what", "figure", "spread of the rounds", "target", ""], _targets(result))
    if rates := result["runs"].get("throughput"):
        yield table(["who", "transfers/s", "spread", "jobs a round", "set up"], _rates(rates, result))
    for kind in ("cannot_run", "failed"):
        yield from (f"{name} was not measured: {reason}." for name, reason in result[kind].items())
    yield from (f"![{chart.stem}]({chart.parent.name}/{chart.name})" for chart in charts)


def _where(result: Mapping[str, Any]) -> str:
    settings, versions = result["settings"], dict(result["versions"])
    machine = settings["machine"]
    peers = [
        f"{package} {version}"
        for name, packages in versions.pop("peers", {}).items()
        for package, version in packages.items()
    ]
    stack = ", ".join([*(f"{name} {version}" for name, version in versions.items()), *dict.fromkeys(peers)])
    durable = ", ".join(f"{name} {value}" for name, value in settings["durable"].items())
    return (
        f"Machine: {machine['cpus']} × {machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']};"
        f" pool of {settings['concurrency']}; {settings['rounds']} rounds. {durable}. Versions: {stack}."
    )


def _targets(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    found = [(target, result["targets"][target.key]) for target in TARGETS if target.key in result["targets"]]
    return [
        (target.what, figure(judged["value"]), spread(result, target.key), str(target), verdict(target, judged))
        for target, judged in found
    ]


def _rates(rates: Mapping[str, Any], result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{run['median']:,.0f}",
            f"{run['min']:,.0f} – {run['max']:,.0f}",
            f"{run['jobs']:,}",
            result["settings"]["contestants"].get(name, ""),
        )
        for name, run in sorted(rates.items(), key=lambda item: -item[1]["median"])
    ]


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()), PAGE)
