"""What the figures should be, and whether they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal


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


def judge(ratios: Mapping[str, float], idle: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Each target that was measured: `{"target": "≥ 12", "value": 13.1, "met": true}`, by key."""
    figures = {**ratios, **idle}
    return {
        target.key: {"target": str(target), "value": figures[target.key], "met": target.met(figures[target.key])}
        for target in TARGETS
        if target.key in figures
    }
