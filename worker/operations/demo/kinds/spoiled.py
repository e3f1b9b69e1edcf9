"""A job of any task with a payload that cannot be."""

from worker.operations.demo.invalid import invalid_payload
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Payload, Planned


def spoiled(plan: Plan, task: str, good: Payload) -> Planned:
    """The job, with one thing wrong in a payload that would be taken."""
    return plan.job(task, invalid_payload(plan.random, task, good), "invalid_payload")
