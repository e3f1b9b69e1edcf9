"""Sessions: served by Redis as long as PostgreSQL says, prolonged by a touch, never back once they are over."""

from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.fixtures.copies import sessions_served
from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import wait_for
from worker.errors import Outcome
from worker.execution import batch
from worker.execution.attempt import Ending

ATTRIBUTES = {"agent": "Firefox", "admin": False, "logins": 3, "score": 0.5, "team": None}


def token(number: int = 0) -> str:
    """The hash of a token."""
    return sha256(f"token {number}".encode()).hexdigest()


def do(bank: Bank, verb: str, **payload: Any) -> Ending:
    (ending,) = bank.run(message(f"sessions.{verb}", payload))
    return ending


def opened(bank: Bank, user: UUID, number: int = 0, ttl_s: int = 100) -> str:
    """The hash of the token of a new session."""
    ending = do(bank, "open", token_hash=token(number), user_id=user, ttl_s=ttl_s, attributes=ATTRIBUTES)
    assert ending.outcome is Outcome.SUCCEEDED, ending
    return token(number)


def code(ending: Ending) -> str:
    return str(ending.data.get("code", ending.outcome))


def ends_in_s(bank: Bank, token_hash: str) -> float:
    """How long it lives, by PostgreSQL."""
    sql = "SELECT extract(epoch FROM expires_at - now()) FROM users_sessions WHERE token_hash = :it"
    return float(bank.value(sql, it=token_hash))


def test_an_open_session_is_served_with_its_attributes_for_as_long_as_it_lives(bank: Bank) -> None:
    user = bank.user()

    ending = do(bank, "open", token_hash=token(), user_id=user, ttl_s=100, attributes=ATTRIBUTES)

    raw: Any = bank.run.given.redis.get(f"session:{token()}")
    served = orjson.loads(raw)
    assert (served["user_id"], served["attributes"]) == (str(user), ATTRIBUTES)
    assert datetime.fromisoformat(served["expires_at"]) == datetime.fromisoformat(ending.data["expires_at"])
    lives_ms: Any = bank.run.given.redis.pttl(f"session:{token()}")
    assert lives_ms / 1000 == pytest.approx(ends_in_s(bank, token()), abs=0.5)
    assert bank.events()[-1]["subject"] == f"users/{user}"
    bank.check()


def test_a_touch_lets_it_slide_and_never_makes_it_shorter(bank: Bank) -> None:
    it = opened(bank, bank.user(), ttl_s=100)
    lives = []

    for payload in ({}, {"ttl_s": 1_000}, {"ttl_s": 10}, {}):
        do(bank, "touch", token_hash=it, **payload)
        served: Any = bank.run.given.redis.ttl(f"session:{it}")
        lives.append(served)
        assert ends_in_s(bank, it) == pytest.approx(served, abs=2)

    assert lives == [pytest.approx(100, abs=2), *[pytest.approx(1_000, abs=5)] * 3]
    bank.check()


def test_who_opens_an_open_session_again_prolongs_it_and_replaces_its_attributes(bank: Bank) -> None:
    user = bank.user()
    opened(bank, user)

    do(bank, "open", token_hash=token(), user_id=user, ttl_s=500, attributes={"agent": "Opera"})

    ((_, attributes, _),) = sessions_served(bank.run.given).values()
    assert attributes == {"agent": "Opera"}
    assert ends_in_s(bank, token()) == pytest.approx(500, abs=5)
    bank.check()


@pytest.mark.parametrize("named", [False, True], ids=["by its token", "with its user"])
def test_a_revoked_session_is_gone_and_stays_gone(bank: Bank, named: bool) -> None:  # noqa: FBT001 - a parameter
    user = bank.user()
    it = opened(bank, user)
    who = {"user_id": user} if named else {}

    first, again = (do(bank, "revoke", token_hash=it, **who) for _ in range(2))
    late = [
        do(bank, "touch", token_hash=it),
        do(bank, "open", token_hash=it, user_id=user, ttl_s=100),
    ]

    assert first.data == again.data == {"token_hash": it, "user_id": str(user)}
    assert {event["subject"] for event in bank.events() if event["type"] == "sessions.revoke.succeeded"} == {
        f"users/{user}"
    }
    assert [code(ending) for ending in late] == ["session_not_found"] * 2
    assert sessions_served(bank.run.given) == {}
    bank.check()


def test_a_session_that_is_revoked_before_it_is_open_never_opens(bank: Bank) -> None:
    user = bank.user()

    revoked = do(bank, "revoke", token_hash=token(), user_id=user)
    late = do(bank, "open", token_hash=token(), user_id=user, ttl_s=100)

    assert (code(revoked), code(late)) == ("succeeded", "session_not_found")
    bank.check()


def test_a_session_that_nobody_knows_is_not_found(bank: Bank) -> None:
    assert [code(do(bank, verb, token_hash=token())) for verb in ("touch", "revoke")] == ["session_not_found"] * 2


def test_an_expired_session_is_neither_touched_nor_opened_again(bank: Bank) -> None:
    user = bank.user()
    it = opened(bank, user)
    bank.value("UPDATE users_sessions SET expires_at = now() RETURNING 1")

    late = [do(bank, "touch", token_hash=it), do(bank, "open", token_hash=it, user_id=user, ttl_s=100)]

    assert [code(ending) for ending in late] == ["session_not_found"] * 2


def test_nobody_has_the_session_of_another(bank: Bank) -> None:
    user, other = bank.user(), bank.user()
    it = opened(bank, user)
    before = sessions_served(bank.run.given)

    tried = [do(bank, verb, token_hash=it, user_id=other) for verb in ("touch", "revoke")]
    tried.append(do(bank, "open", token_hash=it, user_id=other, ttl_s=100))

    assert [code(ending) for ending in tried] == ["session_not_found"] * 3
    assert sessions_served(bank.run.given) == before
    bank.check()


def test_all_sessions_of_a_user_end_at_once_and_those_of_others_go_on(bank: Bank) -> None:
    user, other = bank.user(), bank.user()
    mine, kept = [opened(bank, user, number) for number in range(3)], opened(bank, other, 9)
    do(bank, "revoke", token_hash=mine[0])

    ending = do(bank, "revoke_all", user_id=user)

    assert ending.data == {"user_id": str(user), "revoked": 2}
    assert sessions_served(bank.run.given).keys() == {kept}
    assert [code(do(bank, "touch", token_hash=it)) for it in (*mine, kept)] == ["session_not_found"] * 3 + [
        "succeeded"
    ]
    bank.check()


def test_with_a_user_go_its_sessions_and_none_is_opened_any_more(bank: Bank) -> None:
    gone, anonymised = bank.user(), bank.user()
    bank.run(message("accounts.close", {"id": bank.open(owner=anonymised)}))
    opened(bank, gone, 1)
    opened(bank, anonymised, 2)

    bank.run(*(message("users.delete", {"id": user}) for user in (gone, anonymised)))

    assert sessions_served(bank.run.given) == {}
    assert bank.value("SELECT count(*) FROM users_sessions") == 0
    for user in (gone, anonymised, uuid4()):
        new = {"token_hash": token(3), "user_id": user}
        late = [do(bank, "open", **new, ttl_s=9), do(bank, "revoke", **new), do(bank, "revoke_all", user_id=user)]
        assert [code(ending) for ending in late] == ["user_not_found"] * 3
        assert code(do(bank, "touch", **new)) == "session_not_found"


def test_a_session_that_expired_before_it_was_delivered_is_never_served(bank: Bank) -> None:
    short = message("sessions.open", {"token_hash": token(), "user_id": bank.user(), "ttl_s": 1})

    batch.run("sessions.open", [short], bank.run.given)
    wait_for(lambda: ends_in_s(bank, token()) < 0)
    bank.deliver_all()

    assert bank.run.given.redis.keys("*session:*") == []


def test_what_is_delivered_late_lives_only_for_what_is_left(bank: Bank) -> None:
    long = message("sessions.open", {"token_hash": token(), "user_id": bank.user(), "ttl_s": 100})

    batch.run("sessions.open", [long], bank.run.given)
    wait_for(lambda: ends_in_s(bank, token()) < 99)
    bank.deliver_all()

    lives_ms: Any = bank.run.given.redis.pttl(f"session:{token()}")
    assert 90_000 < lives_ms < 99_500
