"""What a run of jobs really publishes is what the AsyncAPI document says."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docs.pages.refusals import refusals
from docs.pages.tasks import general_codes
from tests.fixtures.jobs import Bank, message
from tests.fixtures.published import DOCUMENT, closed, errors, ours, task_messages
from tests.fixtures.refusals import UNREACHABLE, provoke

STRICT = closed(DOCUMENT)
CHANNELS = {channel["address"]: channel for channel in STRICT["channels"].values()}


def payload_schema(address: str) -> Any:
    """The schema of what is published on a channel: the one of this name, or the one that fits it."""
    kind = address.rpartition(".")[2]
    head = address.partition(":")[0]
    channel = next(
        CHANNELS[name] for name in (address, f"events:{{task}}.{kind}", f"{head}:{{user_id}}") if name in CHANNELS
    )
    (name,) = channel["messages"]
    return STRICT["components"]["messages"][name]["payload"]


@contextmanager
def listening(bank: Bank) -> Iterator[list[tuple[str, Any]]]:
    """Collects all that is published, by channel."""
    heard: list[tuple[str, Any]] = []
    redis: Any = bank.run.given.redis  # untyped there
    with redis.pubsub(ignore_subscribe_messages=True) as live:
        live.psubscribe("events:*", "notifications:*")
        live.get_message(timeout=1)
        yield heard
        until = time.monotonic() + 5
        while (told := live.get_message(timeout=0.2)) is not None or time.monotonic() < until:
            if told is not None:
                heard.append((told["channel"].decode(), json.loads(told["data"])))
            elif heard:
                break


def test_whatever_is_published_or_answered_is_as_the_document_says(bank: Bank) -> None:
    with listening(bank) as heard:
        provoke(bank)

    streamed: Any = bank.run.given.redis.xrange("events")
    entry = {"$ref": "#/components/schemas/StreamEntry"}
    for _, fields in streamed:
        told = {name.decode(): value.decode() for name, value in fields.items()}
        assert errors(entry, told, STRICT) == []
        event = json.loads(told["event"])
        heard.append((f"events:{event['type']}", event))
    for address, told in heard:
        assert errors(payload_schema(address), told, STRICT) == [], (address, told)
    addresses = {address for address, _ in heard}
    succeeding = {f"events:{job.name}.succeeded" for job in ours() if not job.name.startswith("maintenance.")}
    assert succeeding <= addresses
    assert {"events:unreadable.parked", "events:nobody.knows.parked", "events:accounts.deposit.parked"} <= addresses
    assert any(address.startswith("notifications:") for address in addresses)

    for row in bank.rows("SELECT task, data FROM trivet.jobs WHERE state = 'succeeded'"):
        assert errors(task_messages()[row.task]["x-result"], row.data, STRICT) == [], row


def test_what_the_document_does_not_tell_of_is_found(bank: Bank) -> None:
    bank.user()
    (event,) = bank.events()
    schema = payload_schema("events:users.create.succeeded")

    assert errors(schema, event, STRICT) == []
    for wrong in (
        {"more": 1},
        {"type": "users.update.succeeded"},
        {"subject": "users/5"},
        {"sequence": "5"},
        {"time": "today"},
        {"data": event["data"] | {"user": event["data"]["user"] | {"email": "ada@example.org"}}},
        {"data": None},
    ):
        assert errors(schema, event | wrong, STRICT) != [], wrong
    assert errors(schema, event | {"more": 1}) == []  # others may be sent more, one day


def test_a_task_is_rejected_with_just_the_codes_that_the_document_lists(bank: Bank) -> None:
    provoke(bank)

    met = defaultdict(set)
    for event in bank.events():
        if event["type"].endswith(".rejected"):
            met[event["type"].removesuffix(".rejected")].add(event["data"]["code"])
    listed = {(job.name, code) for job in ours() for code in refusals(job)}
    own = {(task, code) for task, codes in met.items() for code in codes} - {
        (task, code) for task in met for code in general_codes()
    }
    assert own == listed - UNREACHABLE
    assert met["accounts.deposit"] >= set(general_codes())


def test_the_examples_of_the_document_are_read_by_the_tasks(bank: Bank) -> None:
    for task, one in task_messages().items():
        (example,) = one["examples"]
        (ending,) = bank.run(message(task, example["payload"], want_result=True))
        assert ending.data.get("code") != "invalid_payload", (task, ending.data)

    for event in bank.events():
        assert errors(payload_schema(f"events:{event['type']}"), event, STRICT) == [], event
