"""The rows of sessions: what PostgreSQL decides, what Redis serves and for how long, and what is told."""

from datetime import datetime
from uuid import UUID, uuid4

import pytest

from tests.fixtures.service import Ended, Service

ATTRIBUTES = {"agent": "Firefox", "admin": False, "logins": 3}


def opened(service: Service, user: UUID, ttl_s: int = 100) -> str:
    """The hash of the token of a new session."""
    token = uuid4().hex * 2
    payload = {"token_hash": token, "user_id": user, "ttl_s": ttl_s, "attributes": ATTRIBUTES}
    assert service.job("sessions.open", payload).data["token_hash"] == token
    return token


def is_served(service: Service, ended: Ended, token: str, user: UUID, ttl_s: int) -> bool:
    """Whether PostgreSQL, Redis, result and event agree on a session that lives so long."""
    row, served = service.row("users_sessions", token, "token_hash"), service.session(token)
    assert (row["user_id"], served["user_id"], served["attributes"]) == (user, str(user), ATTRIBUTES)
    ends = [datetime.fromisoformat(told["expires_at"]) for told in (served, ended.data)]
    assert ends == [row["expires_at"]] * 2
    assert row["revoked_at"] is None
    assert service.redis.ttl(f"session:{token}") == pytest.approx(ttl_s, abs=5)
    assert ended.data.keys() == {"token_hash", "user_id", "expires_at"}
    return (ended.event["data"], ended.event["subject"]) == (ended.data, f"users/{user}")


def is_over(service: Service, token: str) -> bool:
    """Whether it is gone for good: neither touched nor opened again."""
    row = service.row("users_sessions", token, "token_hash")
    late = [
        service.job("sessions.touch", {"token_hash": token}),
        service.job("sessions.open", {"token_hash": token, "user_id": row["user_id"], "ttl_s": 100}),
    ]
    assert [ended.refusal["code"] for ended in late] == ["session_not_found"] * 2
    return row["revoked_at"] is not None and not service.session(token)


@pytest.mark.row("sessions.open")
def test_an_open_session_is_served_with_its_time_to_live(service: Service, user: UUID) -> None:
    token = uuid4().hex * 2

    ended = service.job(
        "sessions.open", {"token_hash": token, "user_id": user, "ttl_s": 100, "attributes": ATTRIBUTES}
    )

    assert is_served(service, ended, token, user, 100)
    assert "Firefox" not in str(ended.event)


@pytest.mark.row("sessions.touch")
def test_a_touched_session_slides(service: Service, user: UUID) -> None:
    token = opened(service, user)

    ended = service.job("sessions.touch", {"token_hash": token, "ttl_s": 1_000})

    assert is_served(service, ended, token, user, 1_000)


@pytest.mark.row("sessions.revoke")
def test_a_revoked_session_never_comes_back(service: Service, user: UUID) -> None:
    token = opened(service, user)

    ended = service.job("sessions.revoke", {"token_hash": token})

    assert ended.data == ended.event["data"] == {"token_hash": token, "user_id": str(user)}
    assert ended.event["subject"] == f"users/{user}"
    assert is_over(service, token)


@pytest.mark.row("sessions.revoke_all")
def test_all_sessions_of_a_user_are_revoked_at_once(service: Service, user: UUID) -> None:
    mine, others = [opened(service, user) for _ in range(2)], opened(service, service.bank.user())

    ended = service.job("sessions.revoke_all", {"user_id": user})

    assert ended.data == ended.event["data"] == {"user_id": str(user), "revoked": 2}
    assert ended.event["subject"] == f"users/{user}"
    assert [is_over(service, token) for token in mine] == [True, True]
    assert service.session(others)
