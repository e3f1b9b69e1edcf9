"""Plans a workload: users, then their accounts, then money moving, then what was sent before once more."""

from collections.abc import Mapping
from random import Random
from typing import Final

from worker.operations.demo import kinds
from worker.operations.demo.kinds import Kind
from worker.operations.demo.workload import Payload, Phase, Plan, Planned, Workload

JOBS_MIN: Final = 20
USERS_SHARE: Final = 0.12
ACCOUNTS_SHARE: Final = 0.18
REPEATED_SHARE: Final = 0.04
CONFLICTING_SHARE: Final = 0.01

USERS: Final[Mapping[Kind, int]] = {kinds.user: 92, kinds.invalid_user: 8}
ACCOUNTS: Final[Mapping[Kind, int]] = {
    kinds.account: 86,
    kinds.taken_email: 5,
    kinds.account_of_nobody: 4,
    kinds.invalid_account: 5,
}
MONEY: Final[Mapping[Kind, int]] = {
    kinds.transfer: 58,
    kinds.deposit: 24,
    kinds.transfer_without_funds: 4,
    kinds.transfer_to_itself: 2,
    kinds.transfer_from_nowhere: 2,
    kinds.transfer_across_currencies: 3,
    kinds.deposit_to_nowhere: 2,
    kinds.invalid_transfer: 3,
    kinds.invalid_deposit: 2,
}
"""The kinds of jobs in each phase, with their weights."""


def plan_workload(jobs: int, seed: int) -> Workload:
    """The workload of so many distinct jobs (at least `JOBS_MIN`): the same for the same seed."""
    if jobs < JOBS_MIN:
        raise ValueError(f"a mixed workload takes at least {JOBS_MIN} jobs")
    plan = Plan(Random(seed))  # noqa: S311 - a workload is to be repeatable
    users, accounts = max(3, int(jobs * USERS_SHARE)), max(6, int(jobs * ACCOUNTS_SHARE))
    return plan.finish([
        _users(plan, users),
        _accounts(plan, accounts),
        _money(plan, jobs - users - accounts),
        _again(plan),
    ])  # fmt: skip


def _users(plan: Plan, jobs: int) -> Phase:
    first = [kinds.user(plan) for _ in range(2)]
    return _phase(plan, "users", [*first, *_mix(plan, USERS, jobs - len(first))])


def _accounts(plan: Plan, jobs: int) -> Phase:
    # Two accounts in each of two currencies first, so that every kind of transfer finds its accounts.
    first = [kinds.open_account(plan, currency) for currency in kinds.CURRENCIES[:2] for _ in range(2)]
    return _phase(plan, "accounts", [*first, *_mix(plan, ACCOUNTS, jobs - len(first))])


def _money(plan: Plan, jobs: int) -> Phase:
    return _phase(plan, "money", _mix(plan, MONEY, jobs))


def _mix(plan: Plan, weights: Mapping[Kind, int], jobs: int) -> list[Planned]:
    return [kind(plan) for kind in plan.random.choices(list(weights), list(weights.values()), k=jobs)]


def _phase(plan: Plan, name: str, planned: list[Planned]) -> Phase:
    """Send each job once and some of them again, in random order."""
    again = plan.random.sample(planned, round(len(planned) * REPEATED_SHARE))
    messages = [job.message for job in planned] + [plan.repeat(job.message) for job in again]
    plan.random.shuffle(messages)
    return Phase(name, messages)


def _again(plan: Plan) -> Phase:
    """Jobs of all phases once more, now that they have ended, and others under the id of an ended job."""
    jobs = list(plan.jobs.values())
    repeated = _some(plan, REPEATED_SHARE, [job for job in jobs if job.message.job_id not in plan.repeated])
    misused = _some(plan, CONFLICTING_SHARE, [job for job in jobs if not job.code])
    messages = [plan.repeat(job.message) for job in repeated]
    messages += [plan.conflict(job.message, _altered(job.message.payload)) for job in misused]
    plan.random.shuffle(messages)
    return Phase("again", messages)


def _some(plan: Plan, share: float, jobs: list[Planned]) -> list[Planned]:
    return plan.random.sample(jobs, max(1, round(len(jobs) * share)))


def _altered(payload: Payload) -> Payload:
    """Another payload, as good as this one."""
    field = next(name for name in ("name", "amount", "opening_balance") if name in payload)
    return payload | {field: payload[field] + (" II" if field == "name" else 1)}
