"""The rows of maintenance: each can be enqueued by hand, by a client that knows its name."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.fixtures.nodes import wait_for
from tests.fixtures.service import Ended, Service


@pytest.mark.row("maintenance.expire_holds")
def test_a_hold_whose_time_is_up_is_released(service: Service, user: UUID) -> None:
    source, target = service.bank.open(100, owner=user), service.bank.open(owner=user)
    hold = service.job(
        "accounts.hold", {"source": source, "target": target, "amount": 40, "expires_in_s": 3_600}
    ).id
    late = "UPDATE holds SET expires_at = now() - interval '1 s' WHERE id = :id RETURNING 1"
    service.bank.value(late, id=hold)

    ended = service.job("maintenance.expire_holds", {})

    assert ended.data == ended.event["data"] == {"holds": 1}
    assert ended.event["subject"] == f"jobs/{ended.id}"
    wait_for(lambda: service.row("holds", hold)["resolved_at"] is not None, 10)
    assert (service.row("accounts", source)["held"], service.row("holds", hold)["captured"]) == (0, 0)
    assert service.job("accounts.capture", {"hold": hold}).refusal["code"] == "hold_resolved"


def report(service: Service, name: str, day: str) -> dict[str, Any]:
    """A report of a day, in PostgreSQL and in MongoDB the same."""
    document = service.document("reports", f"{name}:{day}")
    assert document.pop("deleted") is False
    assert document == json.loads(service.row("reports", f"{name}:{day}")["body"])
    return document


def today(ended: Ended) -> str:
    """The day of the job, in UTC."""
    return str(ended.event["time"])[:10]


@pytest.mark.row("maintenance.reconcile_ledger")
def test_the_ledger_is_proved_and_reported(service: Service, user: UUID) -> None:
    service.bank.open(100, owner=user)

    ended = service.job("maintenance.reconcile_ledger", {})

    assert ended.data["violations"] == 0
    assert ended.data["accounts"] == service.bank.value("SELECT count(*) FROM accounts")
    assert ended.data["entries"] == service.bank.value("SELECT count(*) FROM ledger_entries")
    assert ended.event["data"] == {name: value for name, value in ended.data.items() if name != "first"}
    assert ended.event["subject"] == f"jobs/{ended.id}"
    assert report(service, "reconcile_ledger", today(ended)).items() >= ended.data.items()


@pytest.mark.row("maintenance.reconcile_documents")
def test_a_document_that_is_not_as_its_row_is_repaired_and_named_in_no_event(service: Service, user: UUID) -> None:
    wrong = {"$set": {"name": "Mallory"}}
    service.bank.run.given.documents.users.update_one({"_id": str(user)}, wrong)

    ended = service.job("maintenance.reconcile_documents", {})

    assert (ended.data["differences"], ended.data["repaired"], ended.data["left"]) == (1, 1, 0)
    assert [one["id"] for one in ended.data["first"]] == [str(user)]
    assert ended.event["data"] == {name: value for name, value in ended.data.items() if name != "first"}
    assert ended.event["subject"] == f"jobs/{ended.id}"
    wait_for(lambda: service.document("users", user)["name"] == "Ada", 10)
    assert report(service, "reconcile_documents", today(ended))["differences"] == 1


@pytest.mark.row("maintenance.prune")
def test_what_the_retention_has_passed_is_forgotten_and_the_rest_stays(service: Service, user: UUID) -> None:
    old, new = (uuid4().hex * 2 for _ in range(2))
    for token in (old, new):
        service.job("sessions.open", {"token_hash": token, "user_id": user, "ttl_s": 100})
    past = "UPDATE users_sessions SET expires_at = now() - interval '31 d' WHERE token_hash = :it RETURNING 1"
    service.bank.value(past, it=old)

    ended = service.job("maintenance.prune", {})

    assert ended.data == ended.event["data"]
    assert (ended.data["sessions"], ended.data["jobs"], ended.data["more"]) == (1, 0, False)
    assert ended.event["subject"] == f"jobs/{ended.id}"
    assert [bool(service.row("users_sessions", token, "token_hash")) for token in (old, new)] == [False, True]
    service.redis.delete(f"session:{old}")  # as it would have been long ago


@pytest.mark.row("maintenance.daily_report")
def test_a_day_is_reported_in_figures_and_without_a_name(service: Service, user: UUID) -> None:
    ended = service.job("maintenance.daily_report", {})

    figures = ended.data["today"]
    assert (figures["day"], figures["complete"]) == (today(ended), False)
    assert figures["new_users"] == service.bank.value("SELECT count(*) FROM users")  # all of them came today
    assert ended.data == ended.event["data"]
    assert ended.event["subject"] == f"jobs/{ended.id}"
    assert report(service, "daily_report", today(ended))["new_users"] == figures["new_users"]
    assert str(user) not in json.dumps(ended.event)
