"""Transfers a second, ours beside all that are asked for, in alternating rounds."""

import inspect
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.checks import CheckFailed
from bench.contestants import CannotRun
from bench.contestants.peers import PEERS
from bench.lineup import Competitor, Pair, choices, competitors, pairs
from bench.scene import Scene

Rates = Mapping[str, Sequence[float]]


@dataclass(slots=True)
class Race:
    """The competitors that can run, and what became of each."""

    scene: Scene
    line: list[Competitor]
    rates: dict[str, list[float]] = field(default_factory=dict)
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    cannot_run: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def install(self) -> None:
        """Make the environments; who has none is out."""
        for competitor in list(self.line):
            try:
                versions = dict(competitor.install())
            except CannotRun as reason:
                self._is_out(competitor, self.cannot_run, reason)
            else:
                self.versions |= {competitor.name: versions} if versions else {}

    def run(self) -> None:
        """One after the other, and again; who fails a check is out, and its earlier figures with it."""
        for number in range(1, self.scene.rounds + 1):
            for competitor in list(self.line):
                try:
                    rate = competitor.rate()
                except CannotRun as reason:
                    self._is_out(competitor, self.cannot_run, reason)
                except (CheckFailed, AssertionError, subprocess.SubprocessError) as error:
                    self._is_out(competitor, self.failed, error)
                else:
                    self.rates.setdefault(competitor.name, []).append(rate)
                    self.scene.tell(f"round {number}: {competitor.name:<14}{rate:10,.0f} transfers/s")

    def _is_out(self, competitor: Competitor, why: dict[str, str], reason: Exception) -> None:
        self.line.remove(competitor)
        self.rates.pop(competitor.name, None)
        why[competitor.name] = str(reason) or type(reason).__name__
        self.scene.tell(f"{competitor.name} is out: {why[competitor.name]}")


def measure(scene: Scene, against: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the rounds. Beside runs and ratios: spreads, versions, settings, and who could not run or failed."""
    against = choices() if against is None else against
    race = Race(scene, competitors(scene, against))
    race.install()
    race.run()
    ratios, spreads = compare(race.rates, pairs(against), list(PEERS))
    return {
        "runs": {each.name: _told(each, race.rates[each.name]) for each in race.line},
        "ratios": ratios,
        "spreads": spreads,
        "versions": {"peers": race.versions},
        "settings": {each.name: _settings(each) for each in race.line},
        "cannot_run": race.cannot_run,
        "failed": race.failed,
    }


def compare(
    rates: Rates, pairs: Mapping[str, Pair], peers: Sequence[str]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The ratios of the medians, and the least and the greatest ratio of a round; by key.

    `best_peer` is the ratio to the peer whose median is the highest.
    """
    there = {key: pair for key, pair in pairs.items() if rates.get(pair.ours) and rates.get(pair.other)}
    running = [pair for pair in there.values() if pair.other in peers]
    if running:
        there["best_peer"] = max(running, key=lambda pair: statistics.median(rates[pair.other]))
    ratios, spreads = {}, {}
    for key, pair in there.items():
        ours, other = rates[pair.ours], rates[pair.other]
        by_round = [one / its for one, its in zip(ours, other, strict=True)]
        ratios[key] = round(statistics.median(ours) / statistics.median(other), 3)
        spreads[key] = [round(min(by_round), 3), round(max(by_round), 3)]
    return ratios, spreads


def _told(competitor: Competitor, rates: Sequence[float]) -> dict[str, Any]:
    rounded = [round(rate, 1) for rate in rates]
    spread = {"median": statistics.median(rounded), "min": min(rounded), "max": max(rounded)}
    return {"jobs": competitor.jobs, "transfers_per_s": rounded, **spread}


def _settings(competitor: Competitor) -> str:
    # A contestant says in its docstring how it is set up, so that the figures say it too.
    who = getattr(competitor, "contestant", competitor)
    return " ".join((inspect.getdoc(type(who)) or "").partition("\n\n")[0].split())
