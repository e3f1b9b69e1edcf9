"""Sessions that must not be: refused with the payload, without a trace."""

from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.jobs import Bank, message
from tests.fixtures.refusing import MISSING, changed, refused


def token() -> str:
    """The hash of a token."""
    return sha256(b"token").hexdigest()


def opened(bank: Bank, user: UUID) -> str:
    """The hash of the token of a new session."""
    (ending,) = bank.run(message("sessions.open", {"token_hash": token(), "user_id": user, "ttl_s": 100}))
    return str(ending.data["token_hash"])


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no token": ({"token_hash": MISSING}, "token_hash"),
    "a token that is no hash": ({"token_hash": "secret"}, "token_hash"),
    "a hash in capitals": ({"token_hash": token().upper()}, "token_hash"),
    "a hash too short": ({"token_hash": token()[:-1]}, "token_hash"),
    "a hash with a line": ({"token_hash": token() + "\n"}, "token_hash"),
    "an operator for a token": ({"token_hash": {"$ne": None}}, "token_hash"),
    "a user that is no id": ({"user_id": "ada"}, "user_id"),
    "an operator for a user": ({"user_id": {"$gt": ""}}, "user_id"),
    "an unknown field": ({"token": "secret"}, "token"),
}
INVALID_TTL: dict[str, tuple[dict[str, Any], str]] = {
    "no time": ({"ttl_s": 0}, "ttl_s"),
    "a time before": ({"ttl_s": -1}, "ttl_s"),
    "more than a year": ({"ttl_s": 365 * 24 * 3600 + 1}, "ttl_s"),
    "a time beyond 64 bits": ({"ttl_s": 2**64}, "ttl_s"),
    "half a second": ({"ttl_s": 0.5}, "ttl_s"),
    "a time in quotes": ({"ttl_s": "60"}, "ttl_s"),
}
INVALID_OPEN: dict[str, tuple[dict[str, Any], str]] = {
    "no user": ({"user_id": MISSING}, "user_id"),
    "no time at all": ({"ttl_s": MISSING}, "ttl_s"),
    "a list of attributes": ({"attributes": []}, "attributes"),
    "too many attributes": ({"attributes": {f"a{n}": 1 for n in range(33)}}, "attributes"),
    "NUL in an attribute": ({"attributes": {"a": "\0"}}, "attributes.a"),
    "an attribute beyond 64 bits": ({"attributes": {"a": 2**63}}, "attributes.a"),
}
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    *(("open", what, *case) for what, case in (INVALID | INVALID_TTL | INVALID_OPEN).items()),
    *(("touch", what, *case) for what, case in (INVALID | INVALID_TTL).items()),
    *(("revoke", what, *case) for what, case in INVALID.items()),
    ("revoke_all", "no user", {"user_id": MISSING}, "user_id"),
    ("revoke_all", "a token", {"token_hash": token()}, "token_hash"),
]


@pytest.mark.parametrize(("verb", "what", "changes", "field"), CASES, ids=lambda value: str(value)[:40])
def test_what_is_no_session_is_refused_by_its_field(
    bank: Bank, verb: str, what: str, changes: dict[str, Any], field: str
) -> None:
    user = bank.user()
    valid: dict[str, dict[str, Any]] = {
        "open": {"token_hash": opened(bank, user), "user_id": user, "ttl_s": 60},
        "touch": {"token_hash": token(), "user_id": user, "ttl_s": 60},
        "revoke": {"token_hash": token(), "user_id": user},
        "revoke_all": {"user_id": user},
    }

    assert refused(bank, f"sessions.{verb}", changed(valid[verb], changes)) == ("invalid_payload", field)


@pytest.mark.parametrize("attributes", [{"a": []}, {"a": {"b": 1}}, {"": 1}, {"n" * 65: 1}, {"a": "x" * 1_001}])
def test_attributes_are_few_short_and_flat(bank: Bank, attributes: dict[str, Any]) -> None:
    payload = {"token_hash": token(), "user_id": bank.user(), "ttl_s": 60, "attributes": attributes}

    code, field = refused(bank, "sessions.open", payload)

    assert code == "invalid_payload"
    assert field is not None
    assert field.startswith("attributes.")
