"""Notifications: sent, and read."""

from typing import Final

from worker.operations.demo.kinds.accounts import owner
from worker.operations.demo.kinds.spoiled import spoiled
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Payload, Planned

PER_USER_MAX: Final = 90
"""Fewer than a user may be told in a quarter of an hour."""


def notification(plan: Plan) -> Planned:
    """A user, who may leave, is told something."""
    user = plan.random.choice([*plan.leavers, owner(plan)])
    if sum(told == user for told in plan.unread.values()) >= PER_USER_MAX:
        return notification_to_nobody(plan)
    planned = plan.job("notifications.send", {"user_id": str(user), **_greeting(plan)})
    plan.unread[planned.message.job_id] = user
    return planned


def notification_to_nobody(plan: Plan) -> Planned:
    """Something is told to a user that does not exist."""
    return plan.job("notifications.send", {"user_id": str(plan.uuid()), **_greeting(plan)}, "user_not_found")


def invalid_notification(plan: Plan) -> Planned:
    """A notification that cannot be."""
    return spoiled(plan, "notifications.send", {"user_id": str(owner(plan)), **_greeting(plan)})


def reading(plan: Plan) -> Planned:
    """A user has read a notification."""
    if not plan.unread:
        return notification_to_nobody(plan)
    key = plan.random.choice(list(plan.unread))
    plan.read[key] = plan.unread.pop(key)
    return plan.job("notifications.mark_read", {"user_id": str(plan.read[key]), "ids": [str(key)]})


def _greeting(plan: Plan) -> Payload:
    return {"kind": "greeting", "body": f"You are visitor {plan.random.randint(1, 10**6):,}"}
