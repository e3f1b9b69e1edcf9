"""The rows of maintenance: each can be enqueued by hand, by a client that knows its name."""

from uuid import UUID

import pytest

from tests.fixtures.nodes import wait_for
from tests.fixtures.service import Service

pytestmark = pytest.mark.xdist_group("contract_rows")


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
