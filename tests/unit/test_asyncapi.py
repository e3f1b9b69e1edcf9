"""The AsyncAPI document is valid by the official schema, complete, and says what the worker does."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel

from docs.asyncapi.document import document
from docs.asyncapi.schemas import Schemas
from docs.blocks import ROOT
from docs.pages.tasks import general_codes
from tests.fixtures.jobs import message
from tests.fixtures.odd_jobs import greet
from tests.fixtures.published import DOCUMENT, FORMATS, MESSAGES, errors, ours, references, task_messages, validator
from worker.delivery.events import completion_channels
from worker.envelopes import body_of, envelope, queue_of
from worker.errors import InvalidPayload, Rejected, Unreadable
from worker.execution.job import JOBS
from worker.execution.reading import read
from worker.messages import HEADERS, check_headers, payload_version

OFFICIAL = json.loads((ROOT / "tests" / "data" / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, 2**53, 2**53 - 1, 10**30, 101, "", "x", "x" * 300, [], {}),
    *([1], ["x"], {"a": 1}, {"$a": 1}, {"a.b": 1}, {"__proto__": 1}, {"": 1}, {"x" * 300: 1}),
    *("EUR", "XXX", "created_at", "notes", "0" * 64, "2030-01-31T12:00:00Z"),
    *("6f1c8a34-8f0a-4d0e-9a51-3d5c3f0f6b11", "ada@example.org", "a@b", "a b@example.org"),
]  # fmt: skip


# Valid


def test_the_document_is_valid_by_the_official_schema_of_asyncapi() -> None:
    found = Draft7Validator(OFFICIAL, format_checker=FORMATS).iter_errors(DOCUMENT)

    assert [f"{error.json_path}: {error.message[:200]}" for error in found] == []


def test_a_document_that_is_wrong_is_not_valid() -> None:
    official = Draft7Validator(OFFICIAL, format_checker=FORMATS)

    spoiling: list[Any] = [{"asyncapi": "2.6.0"}, {"channels": {"a": {"messages": 5}}}, {"operations": {"a": {}}}]
    for wrong in spoiling:
        assert not official.is_valid(DOCUMENT | wrong)


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        target = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one(name: str) -> None:
    Draft7Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_has_examples_that_are_valid(name: str) -> None:
    one = MESSAGES[name]

    assert one["examples"]
    for example in one["examples"]:
        assert errors(one["payload"], example["payload"]) == []
        assert errors(one.get("headers", {}), example.get("headers", {})) == []


# Complete


def test_every_task_is_received_on_its_queue_and_its_events_are_sent() -> None:
    for job in ours():
        received, queue = DOCUMENT["operations"][job.name], queue_of(job.name)
        assert (received["action"], received["channel"]["$ref"]) == ("receive", f"#/channels/{queue}")
        assert DOCUMENT["channels"][queue]["address"] == queue
        for channel in completion_channels(job.name):
            sent = DOCUMENT["operations"][channel.removeprefix("events:")]
            assert sent["action"] == "send"
            assert DOCUMENT["channels"][sent["channel"]["$ref"].removeprefix("#/channels/")]["address"] == channel


def test_the_payload_and_the_result_of_each_task_are_components() -> None:
    for job in ours():
        one = MESSAGES[job.name]
        assert one["payload"]["$ref"].endswith(f".{job.command.__name__}")
        assert one["x-result"]["$ref"].endswith(f".{job.answer.__name__}")


def test_every_task_may_be_rejected_with_what_all_tasks_may() -> None:
    for job in ours():
        codes = SCHEMAS[f"{job.name}.rejection"]["properties"]["code"]["enum"]
        assert set(general_codes()) <= set(codes)


def test_nothing_private_is_in_an_event() -> None:
    created = SCHEMAS["users.create.succeeded"]["properties"]["data"]

    assert "email" not in created["properties"]["user"]["properties"]
    assert "email" in SCHEMAS["users.UserView"]["properties"]
    assert SCHEMAS["users.get.succeeded"]["properties"]["data"]["type"] == "null"


def test_no_address_of_a_machine_is_in_the_document() -> None:
    assert DOCUMENT["servers"]["redis"]["host"] == "{host}"
    assert "localhost" not in json.dumps(DOCUMENT)


def test_older_versions_of_a_payload_are_messages_of_their_own_where_their_form_is_known() -> None:
    about = document([greet])
    messages = about["components"]["messages"]

    assert {key for key in messages if key.startswith("testing.greet") and "headers" in messages[key]} == {
        "testing.greet",
        "testing.greet.v2",
    }
    for key, version, payload in [
        ("testing.greet", 3, {"names": ["Ada"]}),
        ("testing.greet.v2", 2, {"name": "Ada"}),
    ]:
        one = messages[key]
        headers = {"task": "testing.greet", "id": "x"}
        assert errors(one["payload"], payload, about) == []
        assert errors(one["headers"], headers | {"payload_version": version}, about) == []
        assert errors(one["headers"], headers | {"payload_version": 9}, about) != []
        assert errors(one["headers"], headers, about) != []
    assert list(Draft7Validator(OFFICIAL).iter_errors(about)) == []


def test_two_classes_of_one_name_in_a_slice_are_refused() -> None:
    schemas = Schemas({})
    schemas.told(type("Same", (BaseModel,), {"__module__": "tasks.users"}))

    with pytest.raises(ValueError, match=r"both have users\.Same"):
        schemas.told(type("Same", (BaseModel,), {"__module__": "tasks.users.more"}))


# True


def spoiled(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The payload, without each field, with each replaced by all sorts of values, with one more."""
    yield payload
    yield payload | {"unknown": 1}
    for name in payload:
        yield {key: value for key, value in payload.items() if key != name}
        for junk in JUNK:
            yield payload | {name: junk}


def taken(task: str, payload: Any) -> bool:
    (attempt,) = read(JOBS[task], [message(task, payload)])
    return attempt.command is not None


@pytest.mark.parametrize("task", [job.name for job in ours()])
def test_a_schema_takes_exactly_what_the_worker_takes(task: str) -> None:
    one = MESSAGES[task]
    check = validator(one["payload"])

    for payload in spoiled(one["examples"][0]["payload"]):
        assert check.is_valid(payload) == taken(task, payload), payload


def good(headers: dict[str, Any]) -> bool:
    try:
        check_headers(headers)
        payload_version(headers)
    except (Rejected, Unreadable):
        return False
    return True


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("idempotency_key", ["a", "x" * 512, "", "x" * 513, 5, "a\0b", ["a"], "Zoë"]),
        ("deadline", ["2030-01-31T12:00:00Z", "2030-01-31T12:00:00.5+02:00", "2030-01-31", "tomorrow", 5, ""]),
        ("payload_version", [1, "1", 0, 2, "x", [], {}]),
    ],
)
def test_the_schema_of_headers_takes_what_the_worker_takes(name: str, values: list[Any]) -> None:
    schema = MESSAGES["accounts.deposit"]["headers"]
    for value in values:
        given = {name: value}
        expected = good(given) and payload_version(given) == 1
        assert (errors(schema, {"task": "accounts.deposit", "id": "x"} | given) == []) == expected, value


def test_the_headers_that_a_producer_may_set_are_described() -> None:
    assert set(HEADERS[:5]) == set(SCHEMAS["Headers"]["properties"]) - {"task", "id"}


def test_a_message_in_a_queue_is_what_the_document_says() -> None:
    sent = message("accounts.deposit", {"account": 1}, want_result=True, idempotency_key="a")

    element = json.loads(envelope(sent))

    assert errors(SCHEMAS["CeleryMessage"], element) == []
    assert errors(SCHEMAS["CeleryBody"], json.loads(sent.body)) == []
    assert errors(SCHEMAS["CeleryBody"], json.loads(body_of(b"5"))) != []
    assert errors(MESSAGES["accounts.deposit"]["headers"], element["headers"]) == []
    assert errors(MESSAGES["accounts.withdraw"]["headers"], element["headers"]) != []


def test_a_task_is_found_by_its_message() -> None:
    assert {one["name"] for one in task_messages().values()} == {job.name for job in ours()}
    assert InvalidPayload.code in general_codes()
