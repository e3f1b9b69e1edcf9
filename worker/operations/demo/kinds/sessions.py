"""Sessions: opened, touched, and ended for good."""

from typing import Final

from worker.operations.demo.kinds.accounts import owner
from worker.operations.demo.kinds.spoiled import spoiled
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Payload, Planned

LASTS_S: Final = (3_600, 24 * 3_600)


def session(plan: Plan) -> Planned:
    """A user, who may leave, opens a session."""
    user = plan.random.choice([*plan.leavers, owner(plan)])
    payload = {"user_id": str(user), **_new(plan)}
    plan.sessions[payload["token_hash"]] = user
    return plan.job("sessions.open", payload)


def session_of_nobody(plan: Plan) -> Planned:
    """A session of a user that does not exist."""
    return plan.job("sessions.open", {"user_id": str(plan.uuid()), **_new(plan)}, "user_not_found")


def invalid_session(plan: Plan) -> Planned:
    """A session that cannot be."""
    return spoiled(plan, "sessions.open", {"user_id": str(owner(plan)), **_new(plan)})


def touching(plan: Plan) -> Planned:
    """A session slides."""
    if not plan.sessions:
        return touching_nothing(plan)
    return plan.job("sessions.touch", {"token_hash": plan.random.choice(list(plan.sessions))})


def touching_nothing(plan: Plan) -> Planned:
    """A session that nobody has opened."""
    return plan.job("sessions.touch", {"token_hash": _new(plan)["token_hash"]}, "session_not_found")


def revoking(plan: Plan) -> Planned:
    """A session ends."""
    if not plan.sessions:
        return touching_nothing(plan)
    token = plan.random.choice(list(plan.sessions))
    del plan.sessions[token]
    plan.revoked.append(token)
    return plan.job("sessions.revoke", {"token_hash": token})


def late_touch(plan: Plan) -> Planned:
    """A session that was ended before."""
    if not plan.revoked:
        return touching_nothing(plan)
    return plan.job("sessions.touch", {"token_hash": plan.random.choice(plan.revoked)}, "session_not_found")


def revoking_all(plan: Plan) -> Planned:
    """All sessions of a user who stays end."""
    user = owner(plan)
    for token in [token for token, holder in plan.sessions.items() if holder == user]:
        del plan.sessions[token]
    return plan.job("sessions.revoke_all", {"user_id": str(user)})


def _new(plan: Plan) -> Payload:
    return {
        "token_hash": f"{plan.random.getrandbits(256):064x}",
        "ttl_s": plan.random.randint(*LASTS_S),
        "attributes": {"agent": "demo", "logins": plan.random.randint(0, 9)},
    }
