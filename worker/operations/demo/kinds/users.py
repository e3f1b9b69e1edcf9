"""Users: they come, some with posts, change their names, and some leave."""

from typing import Final

from worker.operations.demo.kinds.accounts import owner
from worker.operations.demo.kinds.spoiled import spoiled
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Payload, Planned

FIRST_NAMES: Final = ("Ada", "Grace", "Edsger", "Barbara", "Tony", "Radia", "Ken", "Frances", "Leslie", "Margaret")
WRITING_SHARE: Final = 0.2


def user(plan: Plan) -> Planned:
    """A user that can be created, and stays."""
    planned = _newcomer(plan)
    plan.users.append(planned)
    plan.names[planned.message.job_id] = planned.message.payload["name"]
    plan.unnamed.append(planned.message.job_id)
    return planned


def leaver(plan: Plan) -> Planned:
    """A user that can be created, and will leave."""
    planned = _newcomer(plan)
    plan.leavers.append(planned.message.job_id)
    plan.names[planned.message.job_id] = planned.message.payload["name"]
    return planned


def taken_email(plan: Plan) -> Planned:
    """A user with the email address of one that exists, written in another case."""
    email = plan.random.choice(plan.users).message.payload["email"]
    return plan.job("users.create", {"name": "Mallory", "email": email.upper()}, "email_taken")


def invalid_user(plan: Plan) -> Planned:
    """A user that cannot be."""
    return spoiled(plan, "users.create", {"name": "Nobody", "email": "nobody@example.com"})


def renaming(plan: Plan) -> Planned:
    """A user takes another name, once."""
    if not plan.unnamed:
        return reading(plan)
    key = plan.take(plan.unnamed)
    plan.names[key] += " Jr."
    return plan.job("users.update", {"id": str(key), "name": plan.names[key]})


def reading(plan: Plan) -> Planned:
    """A user is read, through the cache."""
    return plan.job("users.get", {"id": str(owner(plan))})


def reading_nobody(plan: Plan) -> Planned:
    """A user is asked for that does not exist."""
    return plan.job("users.get", {"id": str(plan.uuid())}, "user_not_found")


def listing(plan: Plan) -> Planned:
    """A page of users is read."""
    return plan.job("users.list", {"limit": plan.random.randint(1, 20), "order": "name"})


def leaving(plan: Plan) -> Planned:
    """A user without an open account leaves, with all that is personal."""
    staying = {holder for account, holder in plan.holders.items() if account not in plan.closed}
    if not (free := [key for key in plan.leavers if key not in staying and key not in plan.gone]):
        return leaving_with_account(plan)
    key = plan.random.choice(free)
    plan.gone.add(key)
    return plan.job("users.delete", {"id": str(key)})


def leaving_with_account(plan: Plan) -> Planned:
    """A user with an open account, who stays."""
    holder = plan.holders[plan.random.choice(next(iter(plan.accounts.values())))]
    return plan.job("users.delete", {"id": str(holder)}, "user_has_accounts")


def _newcomer(plan: Plan) -> Planned:
    number = len(plan.names) + 1
    name = plan.random.choice(FIRST_NAMES)
    payload: Payload = {"name": f"{name} {number}", "email": f"{name.lower()}.{number}@example.com"}
    if plan.random.random() < WRITING_SHARE:
        payload |= {"posts": [{"title": f"{name}'s first post", "published": True}]}
    return plan.job("users.create", payload)
