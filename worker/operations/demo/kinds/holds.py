"""Holds: money is kept back, and later goes to its target or comes back."""

from typing import Final

from worker.operations.demo.kinds.accounts import deposit, pair, spend
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Planned

LASTS_S: Final = 24 * 3600
"""Longer than any demo: none expires on the way."""


def hold(plan: Plan) -> Planned:
    """Money is held back, of what is left of the opening balance of its source."""
    source, target = pair(plan)
    if not (amount := spend(plan, source)):
        return deposit(plan)
    payload = {"source": str(source), "target": str(target), "amount": amount, "expires_in_s": LASTS_S}
    planned = plan.job("accounts.hold", payload)
    plan.holds[planned.message.job_id] = (source, target, amount)
    plan.held[source] += amount
    return planned


def capture(plan: Plan) -> Planned:
    """All or part of a hold goes to its target."""
    if not plan.holds:
        return release_of_nothing(plan)
    key = plan.random.choice(list(plan.holds))
    source, target, amount = plan.holds.pop(key)
    part = plan.random.randint(1, amount)
    plan.held[source] -= amount
    plan.balances[source] -= part
    plan.balances[target] += part
    plan.resolved.append(key)
    return plan.job("accounts.capture", {"hold": str(key), "amount": part})


def release(plan: Plan) -> Planned:
    """A hold comes back."""
    if not plan.holds:
        return release_of_nothing(plan)
    key = plan.random.choice(list(plan.holds))
    source, _, amount = plan.holds.pop(key)
    plan.held[source] -= amount
    plan.resolved.append(key)
    return plan.job("accounts.release", {"hold": str(key)})


def release_of_nothing(plan: Plan) -> Planned:
    """A hold that does not exist."""
    return plan.job("accounts.release", {"hold": str(plan.uuid())}, "hold_not_found")


def late_capture(plan: Plan) -> Planned:
    """A hold that was resolved before."""
    if not plan.resolved:
        return release_of_nothing(plan)
    return plan.job("accounts.capture", {"hold": str(plan.random.choice(plan.resolved))}, "hold_resolved")
