"""The rows of notifications: row, document, the live message; and what they say is in no event."""

import json
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.nodes import wait_for
from tests.fixtures.service import Service


def told(service: Service, user: UUID) -> UUID:
    return service.job("notifications.send", {"user_id": user, "kind": "greeting", "body": "hello"}).id


@pytest.mark.row("notifications.send")
def test_a_notification_is_kept_and_told_live(service: Service, user: UUID) -> None:
    redis: Any = service.redis
    with redis.pubsub() as listener:
        listener.subscribe(f"notifications:{user}")
        assert listener.get_message(timeout=5)["type"] == "subscribe"

        ended = service.job("notifications.send", {"user_id": user, "kind": "greeting", "body": "between us"})

        live = json.loads(listener.get_message(timeout=5)["data"])
    row, document = service.row("notifications", ended.id), service.document("notifications", ended.id)
    for kept in (row, document):
        assert (str(kept["user_id"]), kept["kind"], kept["body"]) == (str(user), "greeting", "between us")
        assert kept["read_at"] is None
    assert (live["id"], live["kind"], live["body"]) == (str(ended.id), "greeting", "between us")
    assert ended.data == ended.event["data"] == {"notification": str(ended.id), "user_id": str(user)}
    assert ended.event["subject"] == f"users/{user}"
    assert "between us" not in json.dumps(ended.event)


@pytest.mark.row("notifications.mark_read")
def test_what_is_marked_is_read(service: Service, user: UUID) -> None:
    first, second, other = told(service, user), told(service, user), told(service, service.bank.user())

    ended = service.job("notifications.mark_read", {"user_id": user, "ids": [first, other]})

    read = {key: service.row("notifications", key)["read_at"] is not None for key in (first, second, other)}
    assert read == {first: True, second: False, other: False}
    assert service.document("notifications", first)["read_at"] is not None
    assert ended.data == ended.event["data"] == {"user_id": str(user), "read": [str(first)]}
    assert ended.event["subject"] == f"users/{user}"


def test_the_hundred_and_first_within_a_quarter_of_an_hour_is_refused_and_told_when_to_come_again(
    service: Service, user: UUID
) -> None:
    payload = {"user_id": user, "kind": "greeting", "body": "hello"}
    for _ in range(100):
        service.client.send("notifications.send", payload, queue="notifications")
    sent = "SELECT count(*) FROM notifications WHERE user_id = :id"
    wait_for(lambda: service.bank.value(sent, id=user) == 100, 10)

    refusal = service.job("notifications.send", payload).refusal

    assert (refusal["code"], refusal["remaining"]) == ("rate_limited", 0)
    assert 0 < refusal["retry_after_s"] <= 900
    assert service.bank.value(sent, id=user) == 100
