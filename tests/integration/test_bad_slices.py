"""Generated payloads for documents, sessions and notifications: each ends, and copies stay equal to their rows."""

from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fixtures.jobs import Bank, message
from worker.errors import Outcome

TEXT = st.text(st.characters(codec=None, categories=None), max_size=8)  # surrogates and NUL too
NUMBERS = st.integers(-5, 5) | st.integers(-(2**70), 2**70) | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))

FIELDS = {
    "documents.put": ["collection", "id", "body", "if_version"],
    "documents.patch": ["collection", "id", "changes", "if_version"],
    "documents.delete": ["collection", "id", "if_version"],
    "sessions.open": ["token_hash", "user_id", "ttl_s", "attributes"],
    "sessions.touch": ["token_hash", "user_id", "ttl_s"],
    "sessions.revoke": ["token_hash", "user_id"],
    "sessions.revoke_all": ["user_id"],
    "notifications.send": ["user_id", "kind", "body"],
    "notifications.mark_read": ["user_id", "ids"],
}


def payloads(task: str, user: UUID) -> SearchStrategy[Any]:
    """Payloads of a task: often valid, in part or in full."""
    told = task == "notifications.send"
    fields: dict[str, SearchStrategy[Any]] = {
        "collection": st.sampled_from(["notes", "notes", "pages", "users"]),
        "id": st.sampled_from(["a", "b", "../c"]),
        "body": st.text("ab", max_size=3) if told else st.dictionaries(st.sampled_from("ab$"), JSON, max_size=3),
        "changes": st.dictionaries(st.sampled_from("ab$"), JSON, max_size=3),
        "if_version": st.none() | st.integers(0, 3),
        "token_hash": st.integers(0, 3).map(lambda number: sha256(bytes([number])).hexdigest()),
        "user_id": st.sampled_from([str(user), str(user), str(uuid4())]),
        "ttl_s": st.integers(0, 400),
        "attributes": st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2),
        "kind": st.sampled_from(["greeting", "Greeting"]),
        "ids": st.lists(st.uuids().map(str), max_size=3),
    }
    shape = st.fixed_dictionaries({name: fields[name] for name in FIELDS[task]})
    spoiled = st.tuples(shape, st.dictionaries(st.sampled_from(FIELDS[task]) | TEXT, JSON, max_size=2))
    return shape | spoiled.map(lambda pair: pair[0] | pair[1]) | JSON


@pytest.mark.parametrize("family", ["documents", "sessions", "notifications"])
def test_no_payload_whatever_leads_to_an_error_or_to_half_an_effect(bank: Bank, family: str) -> None:
    user = bank.user()
    tasks = [task for task in FIELDS if task.startswith(family)]
    asked = st.sampled_from(tasks).flatmap(lambda task: st.tuples(st.just(task), payloads(task, user)))

    @settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(asked, min_size=1, max_size=8))
    def holds(jobs: list[tuple[str, Any]]) -> None:
        endings = bank.run(*(message(task, payload) for task, payload in jobs))
        assert {ending.outcome for ending in endings} <= {Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.PARKED}
        parked = {ending.data["code"] for ending in endings if ending.outcome is Outcome.PARKED}
        assert parked <= {"unreadable"}
        bank.check()

    holds()
