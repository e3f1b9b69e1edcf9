"""Maintenance, enqueued by hand: beat does so as well."""

from collections.abc import Callable
from typing import Final

from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Planned

TASKS: Final = ("reconcile_ledger", "reconcile_documents", "prune", "expire_holds", "daily_report")


def expiry(plan: Plan) -> Planned:
    """Holds whose time is up are looked for."""
    return _by_hand("expire_holds")(plan)


def _by_hand(task: str) -> Callable[[Plan], Planned]:
    return lambda plan: plan.job(f"maintenance.{task}", {})


EACH: Final = [_by_hand(task) for task in TASKS]
"""Each of them once."""
