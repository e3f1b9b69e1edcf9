"""`trivet bench`: the modes that are asked for, one after the other, on one scene; one result."""

import importlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.checks import CheckFailed
from bench.durations import too_short
from bench.lineup import choices, pairs
from bench.machine import durability, machine, versions
from bench.scene import Scene, open_scene
from bench.spreads import spreads
from bench.targets import judge
from worker.errors import TrivetError


@dataclass(frozen=True, slots=True)
class Mode:
    """A module of `bench.modes`, and how many jobs it takes where nobody says."""

    module: str
    jobs: int


MODES: Final = {
    "throughput": Mode("throughput", 20_000),
    "enqueue": Mode("enqueueing", 20_000),
    "latency": Mode("latency", 500),
    "growth": Mode("growth", 10_000),
    "idle": Mode("idle", 300),
    "overhead": Mode("overhead", 20_000),
    "scaling": Mode("scaling", 20_000),
}


class WrongRequest(TrivetError):
    """Something was asked for that there is not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured; `jobs` is None where each mode is to take as many as it does by itself."""

    against: Sequence[str]
    modes: Sequence[str]
    jobs: int | None
    rounds: int

    @classmethod
    def of(cls, against: str | None, only: Sequence[str], jobs: int | None, rounds: int) -> "Asked":
        """Read what was typed: all that there is, where nothing was. Raises `WrongRequest`."""
        names = choices() if against is None else [name.strip() for name in against.split(",")]
        _require_known("--against", names, choices())
        _require_known("--only", only, list(MODES))
        return cls(names, [mode for mode in MODES if mode in (only or MODES)], jobs, rounds)

    @property
    def jobs_by_mode(self) -> dict[str, int]:
        """How many jobs each mode is given."""
        return {name: self.jobs or MODES[name].jobs for name in self.modes}


def _require_known(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise WrongRequest(f"{option}: there is no {unknown[0]!r}; there are {', '.join(known)}")


def run_bench(asked: Asked, tell: Callable[[str], None]) -> dict[str, Any]:
    """Start servers, measure, and return the result; raises `TrivetError` when they cannot be started."""
    began = time.monotonic()
    with open_scene(asked.jobs or 0, asked.rounds, tell) as scene:
        found = {name: _measure(name, asked, scene, tell) for name in asked.modes}
        result = finish(assemble(found), asked.jobs_by_mode, asked.against)
        result["versions"] = versions(scene) | result["versions"]
        result["settings"] = _settings(asked, scene) | {"contestants": result.pop("contestants")}
    return result | {"seconds": round(time.monotonic() - began)}


def _measure(name: str, asked: Asked, scene: Scene, tell: Callable[[str], None]) -> dict[str, Any]:
    mode = MODES[name]
    tell(f"{name} …")
    try:
        module = importlib.import_module(f"bench.modes.{mode.module}")
        its = replace(scene, jobs=asked.jobs_by_mode[name])
        found: dict[str, Any] = module.measure(its, asked.against) if name == "throughput" else module.measure(its)
    except Exception as error:  # noqa: BLE001 - what the other modes found is not thrown away
        if not isinstance(error, CheckFailed):
            tell(traceback.format_exc())
        return {"failed": {name: f"{type(error).__name__}: {error}"}}
    return found


def assemble(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One result of what the modes found: ratios and the like side by side, raw runs by mode."""
    whole: dict[str, Any] = {
        key: {} for key in ("ratios", "spreads", "targets", "idle", "runs", "versions", "cannot_run", "failed")
    }
    whole["contestants"] = {}
    for mode, its in found.items():
        for key, value in its.items():
            place = "contestants" if key == "settings" else key
            whole.setdefault(place, {}).update({mode: value} if key == "runs" else value)
    return whole


def finish(whole: Mapping[str, Any], jobs: Mapping[str, int], against: Sequence[str]) -> dict[str, Any]:
    """The result with the spreads of all modes, and held against the targets."""
    short = too_short(whole["runs"], jobs, pairs(against))
    return {
        **whole,
        "spreads": whole["spreads"] | spreads(whole["runs"]),
        "targets": judge(whole["ratios"] | whole["idle"], short),
    }


def _settings(asked: Asked, scene: Scene) -> dict[str, Any]:
    return {
        "jobs": asked.jobs_by_mode,
        "rounds": asked.rounds,
        "concurrency": scene.concurrency,
        "against": list(asked.against),
        "machine": machine(),
        "durable": durability(scene),
    }
