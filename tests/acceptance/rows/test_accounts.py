"""The rows of accounts: what each job leaves in the ledger, in MongoDB, and tells."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.service import Ended, Service


def pair(service: Service, user: UUID) -> tuple[UUID, UUID]:
    """An account with 100 and an empty one."""
    source, target = service.bank.open(100, owner=user), service.bank.open(owner=user)
    return source, target


def held(service: Service, source: UUID, target: UUID, amount: int = 40) -> UUID:
    """An open hold."""
    return service.job("accounts.hold", {"source": source, "target": target, "amount": amount}).id


def funds(service: Service, account: UUID) -> tuple[int, int]:
    """Balance, and what of it is held."""
    row = service.row("accounts", account)
    return row["balance"], row["held"]


def told(ended: Ended, account: UUID) -> Any:
    """The result, when the event tells the same, about the account."""
    assert (ended.event["data"], ended.event["subject"]) == (ended.data, f"accounts/{account}")
    return ended.data


@pytest.mark.row("accounts.open")
@pytest.mark.parametrize("opening_balance", [0, 250])
def test_an_account_opens_with_what_the_system_account_gives(
    service: Service, user: UUID, opening_balance: int
) -> None:
    more = {"opening_balance": opening_balance} if opening_balance else {}

    ended = service.job("accounts.open", {"owner_id": user, "currency": "CHF", **more})

    row = service.row("accounts", ended.id)
    assert (row["owner_id"], row["currency"], row["closed_at"]) == (user, "CHF", None)
    assert funds(service, ended.id) == (opening_balance, 0)
    entries = {None: -opening_balance, ended.id: opening_balance} if opening_balance else {}
    assert service.entries_of(ended.id) == entries
    shown = told(ended, ended.id)["account"]
    assert datetime.fromisoformat(shown.pop("opened_at")) == row["opened_at"]
    assert shown == {
        "id": str(ended.id),
        "owner_id": str(user),
        "currency": "CHF",
        "balance": opening_balance,
        "held": 0,
        "closed_at": None,
    }


@pytest.mark.row("accounts.deposit")
def test_a_deposit_comes_from_the_system_account(service: Service, user: UUID) -> None:
    account, _ = pair(service, user)

    ended = service.job("accounts.deposit", {"account": account, "amount": 7})

    assert funds(service, account) == (107, 0)
    assert service.entries_of(ended.id) == {None: -7, account: 7}
    assert told(ended, account) == {"account": str(account), "balance": 107}


@pytest.mark.row("accounts.withdraw")
def test_a_withdrawal_goes_to_the_system_account(service: Service, user: UUID) -> None:
    account, _ = pair(service, user)

    ended = service.job("accounts.withdraw", {"account": account, "amount": 100})

    assert funds(service, account) == (0, 0)
    assert service.entries_of(ended.id) == {None: 100, account: -100}
    assert told(ended, account) == {"account": str(account), "balance": 0}


def receipt(service: Service, ended: Ended) -> dict[str, Any]:
    """The receipt of a transfer, without its time, which is the entries'."""
    document = service.document("receipts", ended.id)
    entry = service.row("ledger_entries", ended.id, "movement_id")
    assert document.pop("time") == entry["entered_at"].replace(
        microsecond=entry["entered_at"].microsecond // 1000 * 1000
    )
    return document


@pytest.mark.row("accounts.transfer")
def test_a_transfer_moves_the_money_and_leaves_a_receipt(service: Service, user: UUID) -> None:
    source, target = pair(service, user)

    ended = service.job("accounts.transfer", {"source": source, "target": target, "amount": 30})

    assert [funds(service, account) for account in (source, target)] == [(70, 0), (30, 0)]
    assert service.entries_of(ended.id) == {source: -30, target: 30}
    assert told(ended, source) == {"transfer": str(ended.id), "source_balance": 70, "target_balance": 30}
    assert receipt(service, ended) == {
        "source": str(source),
        "target": str(target),
        "amount": 30,
        "currency": "EUR",
        "source_balance": 70,
        "target_balance": 30,
        "deleted": False,
    }


@pytest.mark.row("accounts.hold")
def test_a_hold_reserves_and_moves_nothing(service: Service, user: UUID) -> None:
    source, target = pair(service, user)

    ended = service.job("accounts.hold", {"source": source, "target": target, "amount": 40, "expires_in_s": 60})

    assert [funds(service, account) for account in (source, target)] == [(100, 40), (0, 0)]
    hold = service.row("holds", ended.id)
    assert (hold["source_id"], hold["target_id"], hold["amount"], hold["resolved_at"]) == (source, target, 40, None)
    assert (hold["expires_at"] - hold["held_at"]).total_seconds() == 60
    assert service.entries_of(ended.id) == {}
    assert told(ended, source) == {
        "hold": str(ended.id),
        "source": str(source),
        "target": str(target),
        "amount": 40,
        "source_available": 60,
    }


@pytest.mark.row("accounts.capture")
@pytest.mark.parametrize("part", [{}, {"amount": 25}], ids=["all", "a part"])
def test_a_capture_posts_all_or_part_of_a_hold_as_a_transfer(
    service: Service, user: UUID, part: dict[str, int]
) -> None:
    source, target = pair(service, user)
    hold, amount = held(service, source, target), part.get("amount", 40)

    ended = service.job("accounts.capture", {"hold": hold, **part})

    assert [funds(service, account) for account in (source, target)] == [(100 - amount, 0), (amount, 0)]
    assert service.row("holds", hold)["captured"] == amount
    assert service.row("holds", hold)["resolved_at"] is not None
    assert service.entries_of(ended.id) == {source: -amount, target: amount}
    assert receipt(service, ended)["amount"] == amount
    assert told(ended, source) == {
        "hold": str(hold),
        "transfer": str(ended.id),
        "source": str(source),
        "amount": amount,
        "source_balance": 100 - amount,
        "target_balance": amount,
    }


@pytest.mark.row("accounts.release")
def test_a_released_hold_is_available_again(service: Service, user: UUID) -> None:
    source, target = pair(service, user)
    hold = held(service, source, target)

    ended = service.job("accounts.release", {"hold": hold})

    assert [funds(service, account) for account in (source, target)] == [(100, 0), (0, 0)]
    row = service.row("holds", hold)
    assert (row["captured"], row["resolved_at"] is None) == (0, False)
    assert service.entries_of(ended.id) == {}
    assert told(ended, source) == {
        "hold": str(hold),
        "source": str(source),
        "amount": 40,
        "source_available": 100,
    }


@pytest.mark.row("accounts.close")
def test_an_empty_account_closes_for_good(service: Service, user: UUID) -> None:
    account = service.bank.open(owner=user)

    ended = service.job("accounts.close", {"id": account})

    row = service.row("accounts", account)
    shown = told(ended, account)["account"]
    assert datetime.fromisoformat(shown["closed_at"]) == row["closed_at"]
    assert (shown["id"], shown["balance"], shown["held"]) == (str(account), 0, 0)
    late = service.job("accounts.deposit", {"account": account, "amount": 1})
    assert late.refusal["code"] == "account_closed"
