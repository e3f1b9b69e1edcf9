"""Sessions: served by Redis as long as PostgreSQL says, prolonged by a touch, never back once they are over."""

import random
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.fixtures.copies import sessions_served
from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import wait_for
from tests.fixtures.refusing import MISSING, changed, refused
from worker.delivery import redis_lane
from worker.delivery.outbox import SHARDS, Due, Lane, read_due
from worker.errors import Outcome
from worker.execution import batch
from worker.execution.attempt import Ending
from worker.messages import Message

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


def job(verb: str, number: int, **more: Any) -> Message:
    return message(f"sessions.{verb}", {"token_hash": token(number), **more})


def owed_to_redis(bank: Bank) -> list[Due]:
    with bank.run.given.engine.begin() as connection:
        rows: list[Due] = []
        for shard in range(SHARDS):
            rows += read_due(connection, Lane.REDIS, [shard])
    return rows


def deliver(bank: Bank, rows: Sequence[Due]) -> None:
    for start in range(0, len(rows), 100):
        assert redis_lane.deliver(bank.run.given.redis, rows[start : start + 100]) == {}


def test_in_a_thousand_random_orders_of_delivery_what_was_revoked_stays_gone(bank: Bank) -> None:
    chance, users = random.Random(9), [bank.user() for _ in range(50)]
    numbers = range(1_000)
    steps = [
        [job("open", number, user_id=chance.choice(users), ttl_s=chance.randint(60, 3_600)) for number in numbers],
        [job("touch", number, ttl_s=chance.randint(60, 7_200)) for number in numbers],
        [job("revoke", number) for number in numbers if number % 2],
    ]
    for step in steps:
        done = batch.run(step[0].task, step, bank.run.given)
        assert {attempt.ended.outcome for attempt in done.attempts} == {Outcome.SUCCEEDED}
    owed = owed_to_redis(bank)
    assert len(owed) == 2_500

    deliver(bank, chance.sample(owed * 2, len(owed) * 2))

    live = bank.rows("SELECT * FROM users_sessions WHERE revoked_at IS NULL")
    served = sessions_served(bank.run.given)
    assert served.keys() == {token(number) for number in numbers if number % 2 == 0}
    assert {it: end for it, (_, _, end) in served.items()} == {row.token_hash: row.expires_at for row in live}
    bank.deliver_all()
    bank.check()


def test_in_a_thousand_random_orders_of_jobs_what_was_revoked_stays_gone(bank: Bank) -> None:
    chance, user = random.Random(10), bank.user()
    orders = [chance.sample(_jobs_of(number, user), 7) for number in range(1_000)]
    revoked: set[int] = set()

    for step in zip(*orders, strict=True):
        for verb in ("open", "touch", "revoke"):
            now = {number: sent for number, sent in enumerate(step) if sent.task == f"sessions.{verb}"}
            endings = bank.run(*now.values())
            assert {code(ending) for ending in endings} <= {"succeeded", "session_not_found"}
            revoked |= {number for number in now if verb == "revoke"}
        assert not sessions_served(bank.run.given).keys() & {token(number) for number in revoked}

    assert len(revoked) == 1_000
    assert sessions_served(bank.run.given) == {}
    bank.check()


def _jobs_of(number: int, user: UUID) -> list[Message]:
    """What may happen to one token: opened, sent twice, opened by another job, touched twice, revoked twice."""
    new = {"user_id": user, "ttl_s": 100}
    first, end = job("open", number, **new), job("revoke", number, user_id=user)
    return [first, first, job("open", number, **new), job("touch", number), job("touch", number), end, end]


def test_a_version_outlives_every_value_that_may_still_come(bank: Bank) -> None:
    it = opened(bank, bank.user(), ttl_s=100)
    do(bank, "touch", token_hash=it, ttl_s=1_000)

    do(bank, "revoke", token_hash=it)

    remembered: Any = bank.run.given.redis.ttl(f"{redis_lane.VERSION_KEY}session:{it}")
    assert remembered == pytest.approx(1_000, abs=5)


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
