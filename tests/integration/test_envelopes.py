"""Messages written by hand are what Celery itself would have written, in all that a worker reads."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import orjson
import pytest
from celery import Celery
from kombu.connection import Connection

from worker.envelopes import body_of, envelope, queue_of
from worker.messages import Message, canonical, derive_id, job_id, read_payload
from worker.operations.embedded import Urls
from worker.stores.resources import Resources

TASK = "users.create"
PAYLOAD = {
    "name": "Zoë \N{SLIGHTLY SMILING FACE}",
    "email": "zoe@example.org",
    "nested": [{"n": 1.5, "none": None}],
}
HEADERS = {
    "idempotency_key": "Zoë",
    "want_result": True,
    "deadline": "2030-01-31T12:00:00Z",
    "payload_version": 1,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

Take = Callable[[], Any]


@pytest.fixture
def take(servers: Urls) -> Iterator[Take]:
    """Take the next message from the queue, with kombu's own consumer."""
    with Connection(servers.redis) as connection, closing(connection.SimpleQueue(queue_of(TASK))) as queue:

        def next_message() -> Any:
            message = queue.get(timeout=5)
            message.ack()
            return message

        yield next_message


@pytest.fixture
def client(servers: Urls) -> Iterator[Celery]:
    """A plain Celery client, which knows nothing of this package."""
    with Celery(broker=servers.redis, set_as_current=False) as app:
        yield app


def ours(task_id: str, **headers: Any) -> Message:
    return Message(TASK, task_id, body_of(canonical(PAYLOAD)), headers=headers)


def push(given: Resources, message: Message) -> None:
    given.redis.lpush(queue_of(message.task), envelope(message))


def send(client: Celery, task_id: str, **headers: Any) -> None:
    client.send_task(
        TASK, kwargs=PAYLOAD, task_id=task_id, queue=queue_of(TASK), headers=headers, ignore_result=True
    )


def element(given: Resources) -> Any:
    """The one element of the queue's list, as it lies there."""
    (raw,) = given.redis.lrange(queue_of(TASK), 0, -1)
    return orjson.loads(raw)


def test_kombu_reads_back_what_was_written(given: Resources, take: Take) -> None:
    task_id = str(uuid4())

    push(given, ours(task_id, **HEADERS))
    message = take()

    assert message.payload[1] == PAYLOAD
    assert {name: message.headers[name] for name in HEADERS} == HEADERS
    assert message.headers["task"] == TASK
    assert message.properties["correlation_id"] == message.headers["id"] == task_id


def test_a_worker_reads_the_same_from_ours_and_from_celerys_own(
    given: Resources, client: Celery, take: Take
) -> None:
    task_id = str(uuid4())
    shown_otherwise = {"origin", "argsrepr", "kwargsrepr"}  # ours shows no values, which may be personal

    push(given, ours(task_id, **HEADERS))
    mine = take()
    send(client, task_id, **HEADERS)
    celerys = take()

    assert mine.payload == celerys.payload
    assert (mine.content_type, mine.content_encoding) == (celerys.content_type, celerys.content_encoding)
    assert mine.headers.keys() == celerys.headers.keys()
    for name in celerys.headers.keys() - shown_otherwise:
        assert mine.headers[name] == celerys.headers[name], name
    for name in ("correlation_id", "delivery_mode", "priority", "body_encoding"):
        assert mine.properties[name] == celerys.properties[name], name
    assert mine.delivery_info == celerys.delivery_info


def test_an_element_has_the_shape_of_celerys_own(given: Resources, client: Celery) -> None:
    task_id = str(uuid4())

    push(given, ours(task_id))
    mine = element(given)
    given.redis.delete(queue_of(TASK))
    send(client, task_id)
    celerys = element(given)

    assert mine.keys() == celerys.keys()
    assert mine["headers"].keys() == celerys["headers"].keys()
    assert mine["properties"].keys() == celerys["properties"].keys()


def test_both_ways_in_make_the_same_job_with_the_same_payload(given: Resources, client: Celery, take: Take) -> None:
    push(given, ours("first", idempotency_key="order-42"))
    send(client, "second", idempotency_key="order-42")

    read = [as_received(take()) for _ in range(2)]

    assert {job_id(message) for message in read} == {derive_id(TASK, "order-42")}
    assert len({read_payload(message) for message in read}) == 1


def as_received(message: Any) -> Message:
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    return Message(message.headers["task"], message.headers["id"], body, message.content_type, message.headers)


def test_elements_are_taken_in_the_order_in_which_they_were_pushed(given: Resources, take: Take) -> None:
    ids = [str(uuid4()) for _ in range(3)]

    for task_id in ids:
        push(given, ours(task_id))

    assert [take().headers["id"] for _ in ids] == ids


def test_each_element_has_a_delivery_tag_of_its_own(given: Resources) -> None:
    message = ours(str(uuid4()))

    tags = {orjson.loads(envelope(message))["properties"]["delivery_tag"] for _ in range(10)}

    assert len(tags) == 10


def test_a_payload_goes_through_byte_for_byte(given: Resources, take: Take) -> None:
    payload = canonical({"text": '\t"\\/ \x7f é \N{SLIGHTLY SMILING FACE}', "large": 2**63 - 1, "small": 5e-324})

    push(given, Message(TASK, "1", body_of(payload)))
    body = as_received(take()).body

    assert body == body_of(payload)
    assert json.loads(body)[1] == json.loads(payload)


def test_headers_that_are_not_ours_are_not_passed_on(given: Resources, take: Take) -> None:
    push(given, ours("1", retries=99, reply_to="elsewhere", idempotency_key="k"))
    message = take()

    assert message.headers["retries"] == 0
    assert "reply_to" not in message.headers
    assert message.headers["idempotency_key"] == "k"
