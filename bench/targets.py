"""What the figures should be, and whether they are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

TOO_FEW: Final = "too few jobs to tell"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of the result, by its key, and the least or the most that it should be."""

    key: str
    what: str
    sign: Literal["≥", "≤"]
    limit: float

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"

    def met(self, value: float) -> bool:
        """Whether the figure is good enough."""
        return value >= self.limit if self.sign == "≥" else value <= self.limit

    def short_by(self, value: float) -> float:
        """How far the figure is from the target, as a share of it; 0 when it is met."""
        return 0.0 if self.met(value) else abs(value - self.limit) / self.limit


TARGETS: Final = (
    Target("celery", "transfers/s ÷ the same work as a plain Celery task", "≥", 12),
    Target("pgbench", "transfers/s ÷ pgbench, the SQL alone, one commit a job", "≥", 1.5),
    Target("best_peer", "transfers/s ÷ the best peer", "≥", 5),
    Target("bare_loop", "transfers/s ÷ the same batches in a bare loop", "≥", 0.5),
    Target("single_body", "single body through the ORM ÷ the same as a plain Celery task", "≥", 4),
    Target("enqueue_many", "enqueue_many ÷ send_task in a loop", "≥", 8),
    Target("latency_p50", "latency when idle, p50 ÷ a plain Celery task's", "≤", 1.3),
    Target("latency_p99_over_p50", "latency when idle, p99 ÷ p50", "≤", 3),
    Target("growth", "jobs/s with a queue twenty times as long ÷ with the short one", "≥", 0.9),
    Target("memory_growth", "memory after twenty times as many jobs ÷ after few", "≤", 1.1),
    Target("requests_per_s", "an idle worker: requests to Redis a second", "≤", 5),
    Target("cpu", "an idle worker: share of a core", "≤", 0.01),
)


def judge(figures: Mapping[str, float], too_short: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Each target that was measured: `{"target": "≥ 12", "value": 13.1, "met": true}`, by key.

    What took too short a time proves nothing: it is not met, and has a note that says so.
    """
    judged = {}
    for target in TARGETS:
        if target.key in figures:
            value, proven = figures[target.key], target.key not in too_short
            judged[target.key] = {"target": str(target), "value": value, "met": proven and target.met(value)}
            judged[target.key] |= {} if proven else {"note": TOO_FEW}
    return judged


def verdict(target: Target, judged: Mapping[str, Any]) -> str:
    """`met`, or how far the figure is away, or why it says nothing."""
    if note := judged.get("note"):
        return str(note)
    return "met" if judged["met"] else f"{target.short_by(judged['value']):.0%} short"
