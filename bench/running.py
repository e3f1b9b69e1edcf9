"""`trivet bench`: the modes that are asked for, one after the other, on one scene; one result."""

import importlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.checks import CheckFailed
from bench.lineup import choices
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
    "latency": Mode("latency", 300),
    "growth": Mode("growth", 10_000),
    "idle": Mode("idle", 300),
    "overhead": Mode("overhead", 10_000),
    "scaling": Mode("scaling", 4_000),
}

JOBS_MAX: Final = 100_000
"""The stream keeps about so many events, and each is to be counted."""


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


def _require_known(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise WrongRequest(f"{option}: there is no {unknown[0]!r}; there are {', '.join(known)}")


def run_bench(asked: Asked, tell: Callable[[str], None]) -> dict[str, Any]:
    """Start servers, measure, and return the result; raises `TrivetError` when they cannot be started."""
    began = time.monotonic()
    with open_scene(asked.jobs or 0, asked.rounds, tell) as scene:
        found = {name: _measure(name, asked, scene, tell) for name in asked.modes}
        result = assemble(found)
        result["spreads"] |= spreads(result["runs"])
        result["versions"] = versions(scene) | result["versions"]
        result["settings"] = _settings(asked, scene) | {"contestants": result.pop("contestants")}
    return result | {"seconds": round(time.monotonic() - began)}


def _measure(name: str, asked: Asked, scene: Scene, tell: Callable[[str], None]) -> dict[str, Any]:
    mode = MODES[name]
    tell(f"{name} …")
    try:
        module = importlib.import_module(f"bench.modes.{mode.module}")
        its = replace(scene, jobs=asked.jobs or mode.jobs)
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
    whole["targets"] = judge(whole["ratios"], whole["idle"])
    return whole


def _settings(asked: Asked, scene: Scene) -> dict[str, Any]:
    return {
        "jobs": {name: asked.jobs or MODES[name].jobs for name in asked.modes},
        "rounds": asked.rounds,
        "concurrency": scene.concurrency,
        "against": list(asked.against),
        "machine": machine(),
        "durable": durability(scene),
    }
