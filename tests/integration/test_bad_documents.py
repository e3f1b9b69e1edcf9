"""Documents that must not be: hostile bodies, odd ids, other collections; refused without a trace."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.documents import DocumentInvalid, put
from tests.fixtures.amounts import TIMES
from tests.fixtures.copies import documents_read, everything
from tests.fixtures.jobs import Bank, message
from tests.fixtures.refusing import MISSING, changed, refused
from worker.errors import Outcome
from worker.execution.attempt import Ending

NOTE = {"collection": "notes", "id": "one"}


def do(bank: Bank, verb: str, **given: Any) -> Ending:
    (ending,) = bank.run(message(f"documents.{verb}", {**NOTE, **given}))
    return ending


def read(bank: Bank) -> dict[str, Any]:
    return {key: body for key, (_, body) in documents_read(bank.run.given).items()}


def nested(depth: int) -> dict[str, Any]:
    """A body of so many levels."""
    body: dict[str, Any] = {}
    for _ in range(depth - 1):
        body = {"a": body}
    return body


def keys(count: int) -> dict[str, Any]:
    return {f"k{number}": number for number in range(count)}


def sized(size: int) -> dict[str, Any]:
    """A body of so many bytes."""
    return {"a": "x" * (size - len('{"a":""}'))}


HOSTILE: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "an operator": ({"$where": "sleep(1000)"}, "document_invalid", "{}.$where"),
    "an operator within": ({"a": [{"$set": 1}]}, "document_invalid", "{}.a.0.$set"),
    "a path": ({"a.b": 1}, "document_invalid", "{}.a.b"),
    "a prototype": ({"a": {"__proto__": {}}}, "document_invalid", "{}.a.__proto__"),
    "an empty key": ({"": 1}, "document_invalid", "{}."),
    "a long key": ({"k" * 257: 1}, "document_invalid", "{}." + "k" * 257),
    "33 levels": (nested(33), "document_invalid", "{}"),
    "99 levels": (nested(98), "document_invalid", "{}"),
    "1,001 keys": (keys(1_001), "document_invalid", "{}"),
    "10,000 keys": (keys(10_000), "document_invalid", "{}"),
    "1,001 keys in all": ({"a": keys(500), "b": keys(499)}, "document_invalid", "{}"),
    "too many bytes": (sized(128 * 1024 + 1), "document_invalid", "{}"),
    "too many levels for any payload": (nested(100), "invalid_payload", "{}"),
    "NUL in a key": ({"a\0b": 1}, "invalid_payload", "{}.a\N{SYMBOL FOR NULL}b"),
    "NUL in a text": ({"a": "\0"}, "invalid_payload", "{}.a"),
    "half a pair": ({"a": "\ud800"}, "invalid_payload", "{}.a"),
    "beyond 64 bits": ({"a": 2**63}, "invalid_payload", "{}.a"),
    "below 64 bits": ({"a": -(2**63) - 1}, "invalid_payload", "{}.a"),
    "no number": ({"a": float("nan")}, "invalid_payload", "{}.a"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize(("verb", "field"), [("put", "body"), ("patch", "changes")])
def test_a_hostile_body_is_refused_before_anything_is_written(bank: Bank, verb: str, field: str, what: str) -> None:
    body, code, place = HOSTILE[what]
    do(bank, "put", body={"there": 1})

    assert refused(bank, f"documents.{verb}", {**NOTE, field: body}) == (code, place.format(field))


@pytest.mark.usefixtures("producing")
def test_a_producer_hears_of_a_hostile_body_before_it_is_sent() -> None:
    with pytest.raises(DocumentInvalid, match="may not begin with") as refusal:
        put.enqueue(collection="notes", id="one", body={"a": {"$where": 1}})

    assert refusal.value.field == "body.a.$where"


@pytest.mark.parametrize("body", [nested(32), keys(1_000), sized(128 * 1024), {"k" * 256: 1}, {"a": "$where"}])
def test_a_body_at_a_limit_is_taken(bank: Bank, body: dict[str, Any]) -> None:
    assert do(bank, "put", body=body).data["version"] == 1
    assert read(bank) == {"notes/one": body}


@pytest.mark.parametrize(
    ("body", "changes"),
    [(keys(1_000), {"more": 1}), (sized(100_000), {"b": "x" * 50_000})],
    ids=["too many keys", "too many bytes"],
)
def test_a_document_does_not_outgrow_its_limits_by_changes(
    bank: Bank, body: dict[str, Any], changes: dict[str, Any]
) -> None:
    do(bank, "put", body=body)

    code, _ = refused(bank, "documents.patch", {**NOTE, "changes": changes})

    assert code == "document_invalid"


INVALID: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "no collection": ({"collection": MISSING}, ("invalid_payload", "collection")),
    "another collection": ({"collection": "users"}, ("collection_not_allowed", "collection")),
    "a system collection": ({"collection": "system.users"}, ("collection_not_allowed", "collection")),
    "a list for a collection": ({"collection": ["notes"]}, ("invalid_payload", "collection")),
    "no id": ({"id": MISSING}, ("invalid_payload", "id")),
    "an empty id": ({"id": ""}, ("invalid_payload", "id")),
    "a long id": ({"id": "i" * 129}, ("invalid_payload", "id")),
    "a path for an id": ({"id": "../notes/two"}, ("invalid_payload", "id")),
    "an id with a slash": ({"id": "a/b"}, ("invalid_payload", "id")),
    "an id with a line": ({"id": "one\n"}, ("invalid_payload", "id")),
    "a number for an id": ({"id": 1}, ("invalid_payload", "id")),
    "an operator for an id": ({"id": {"$gt": ""}}, ("invalid_payload", "id")),
    "a version below": ({"if_version": -1}, ("invalid_payload", "if_version")),
    "a version in quotes": ({"if_version": "1"}, ("invalid_payload", "if_version")),
    "an operator for a version": ({"if_version": {"$exists": False}}, ("invalid_payload", "if_version")),
    "an unknown field": ({"upsert": True}, ("invalid_payload", "upsert")),
}


@pytest.mark.parametrize("what", INVALID)
@pytest.mark.parametrize(("verb", "more"), [("put", {"body": {}}), ("patch", {"changes": {}}), ("delete", {})])
def test_what_names_no_document_is_refused_by_its_field(
    bank: Bank, verb: str, more: dict[str, Any], what: str
) -> None:
    changes, expected = INVALID[what]

    assert refused(bank, f"documents.{verb}", changed({**NOTE, **more}, changes)) == expected


@pytest.mark.parametrize("body", [MISSING, None, [], "text", 7], ids=["none", "null", "a list", "text", "a number"])
@pytest.mark.parametrize(("verb", "field"), [("put", "body"), ("patch", "changes")])
def test_what_is_no_object_is_no_body(bank: Bank, verb: str, field: str, body: Any) -> None:
    payload = changed({**NOTE, field: {}}, {field: body})

    assert refused(bank, f"documents.{verb}", payload) == ("invalid_payload", field)


TEXT = st.text(st.characters(codec=None, categories=None), max_size=6)  # surrogates and NUL too
KEY = TEXT | st.sampled_from(["$where", "a.b", "__proto__", "_id", "version", "deleted", "body", "", "a"])
SCALAR = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.integers(-9, 9) | st.floats() | TEXT
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3))
OBJECT = st.dictionaries(KEY, JSON, max_size=4)


@pytest.mark.generated
def test_no_body_whatever_leads_to_an_error_or_to_half_an_effect(bank: Bank) -> None:
    @settings(max_examples=20 * TIMES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from(["put", "patch"]), OBJECT | JSON), min_size=1, max_size=5))
    def holds(asked: list[tuple[str, Any]]) -> None:
        for verb, body in asked:
            before = everything(bank.run.given)
            ending = do(bank, verb, **{"body" if verb == "put" else "changes": body})
            assert ending.outcome in {Outcome.SUCCEEDED, Outcome.REJECTED}, ending
            if ending.outcome is Outcome.REJECTED:
                assert everything(bank.run.given) == before
            elif verb == "put":
                assert json.dumps(read(bank)["notes/one"]) == json.dumps(body, sort_keys=True)
        bank.check()

    holds()
