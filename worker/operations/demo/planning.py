"""Plans a workload: what is there first, then what is done with it, and what was sent before once more."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from worker.operations.demo.kinds import (
    accounts,
    documents,
    holds,
    maintenance,
    notifications,
    posts,
    sessions,
    users,
)
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Payload, Phase, Planned, Workload

JOBS_MIN: Final = 20
COVERING: Final = 100
"""So many jobs and more have every task among them."""
REPEATED_SHARE: Final = 0.04
CONFLICTING_SHARE: Final = 0.01
ALTERED: Final = ("name", "title", "amount", "opening_balance")
"""Fields of which any has another good value: a text, or a number."""

Kind = Callable[[Plan], Planned]

USERS: Final[Mapping[Kind, int]] = {users.user: 70, users.leaver: 22, users.invalid_user: 8}
THINGS: Final[Mapping[Kind, int]] = {
    accounts.account: 40,
    accounts.account_to_close: 6,
    posts.post: 18,
    documents.document: 18,
    sessions.session: 20,
    users.taken_email: 2,
    accounts.account_of_nobody: 2,
    accounts.invalid_account: 2,
    posts.post_of_nobody: 1,
    posts.invalid_post: 1,
    documents.document_elsewhere: 1,
    documents.hostile_document: 1,
    sessions.session_of_nobody: 1,
    sessions.invalid_session: 1,
}
WORK: Final[Mapping[Kind, int]] = {
    accounts.transfer: 32,
    accounts.deposit: 12,
    accounts.withdrawal: 7,
    holds.hold: 14,
    users.renaming: 3,
    posts.changing: 3,
    posts.publishing: 3,
    documents.patching: 6,
    sessions.touching: 5,
    notifications.notification: 10,
    users.reading: 3,
    users.listing: 1,
    posts.searching: 2,
    accounts.transfer_without_funds: 2,
    accounts.withdrawal_without_funds: 1,
    accounts.transfer_to_itself: 1,
    accounts.transfer_from_nowhere: 1,
    accounts.transfer_across_currencies: 1,
    accounts.deposit_to_nowhere: 1,
    accounts.invalid_transfer: 2,
    accounts.invalid_deposit: 1,
    users.reading_nobody: 1,
    posts.publishing_nothing: 1,
    documents.patching_nothing: 1,
    sessions.touching_nothing: 1,
    notifications.notification_to_nobody: 1,
    notifications.invalid_notification: 1,
}
ENDS: Final[Mapping[Kind, int]] = {
    holds.capture: 14,
    holds.release: 7,
    accounts.closing: 8,
    posts.removing: 5,
    documents.removing: 4,
    sessions.revoking: 7,
    notifications.reading: 16,
    accounts.closing_with_money: 3,
    holds.release_of_nothing: 2,
}
FAREWELL: Final[Mapping[Kind, int]] = {
    users.leaving: 24,
    sessions.revoking_all: 14,
    sessions.late_touch: 12,
    holds.late_capture: 12,
    maintenance.expiry: 4,
    users.leaving_with_account: 10,
    users.listing: 6,
    posts.searching: 6,
}
"""The kinds of jobs in each phase, with their weights."""


def _open(currency: str) -> Kind:
    return lambda plan: accounts.open_account(plan, currency, funded=True)


# First in each phase: what later kinds cannot do without, and then each task once.
_FIRST: Final[Mapping[str, Sequence[Kind]]] = {
    "users": [users.user, users.leaver, users.user],
    "things": [
        *(_open(currency) for currency in accounts.CURRENCIES[:2] for _ in range(2)),
        *(posts.post, documents.document, sessions.session, accounts.account_to_close),
    ],
    "work": [*list(WORK)[:13], holds.hold],
    "ends": list(ENDS)[:7],
    "farewell": [users.leaving, sessions.revoking_all, *maintenance.EACH],
}


def plan_workload(jobs: int, seed: int) -> Workload:
    """The workload of so many distinct jobs (at least `JOBS_MIN`): the same for the same seed."""
    if jobs < JOBS_MIN:
        raise ValueError(f"a mixed workload takes at least {JOBS_MIN} jobs")
    plan = Plan(Random(seed))  # noqa: S311 - a workload is to be repeatable
    sizes = {
        "users": max(3, jobs * 11 // 100),
        "things": max(6, jobs * 24 // 100),
        "ends": max(2, jobs * 12 // 100),
        "farewell": max(1, jobs * 7 // 100),
    }
    weights = {"users": USERS, "things": THINGS, "work": WORK, "ends": ENDS, "farewell": FAREWELL}
    sizes["work"] = jobs - sum(sizes.values())
    phases = [_phase(plan, name, _mix(plan, _FIRST[name], kinds, sizes[name])) for name, kinds in weights.items()]
    return plan.finish([*phases, _again(plan)])


def _mix(plan: Plan, first: Sequence[Kind], weights: Mapping[Kind, int], jobs: int) -> list[Planned]:
    more = plan.random.choices(list(weights), list(weights.values()), k=max(0, jobs - len(first)))
    return [kind(plan) for kind in [*first, *more][:jobs]]


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
    misused = _some(plan, CONFLICTING_SHARE, [job for job in jobs if not job.code and _alterable(job)])
    messages = [plan.repeat(job.message) for job in repeated]
    messages += [plan.conflict(job.message, _altered(job.message.payload)) for job in misused]
    plan.random.shuffle(messages)
    return Phase("again", messages)


def _some(plan: Plan, share: float, jobs: list[Planned]) -> list[Planned]:
    return plan.random.sample(jobs, max(1, round(len(jobs) * share)))


def _alterable(job: Planned) -> bool:
    return not job.message.payload.keys().isdisjoint(ALTERED)


def _altered(payload: Payload) -> Payload:
    """Another payload, as good as this one."""
    field = next(name for name in ALTERED if name in payload)
    value = payload[field]
    return payload | {field: f"{value} II" if isinstance(value, str) else value + 1}
