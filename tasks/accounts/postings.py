"""What every movement of money leaves behind: two ledger entries that sum to zero, and a receipt."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from tasks.model import Account, LedgerEntry
from tasks.model.projections import Projection, project
from worker import Document, Rejected, Result, UnitOfWork, insert_many, last_round_trip, update_many

R = TypeVar("R", bound=Result)


class SameAccount(Rejected):
    """Source and target are one account."""

    code = "same_account"


class CurrencyMismatch(Rejected):
    """Source and target hold different currencies."""

    code = "currency_mismatch"


class Receipt(Document, collection="receipts", indexes=("source", "target")):
    """What one transfer did; its id is the transfer's."""

    source: UUID
    target: UUID
    amount: int
    currency: str
    source_balance: int
    target_balance: int
    time: datetime


class Entry(NamedTuple):
    """One leg of a movement, as `LedgerEntry` keeps it; without an account it is the currency's system account."""

    movement_id: UUID
    account_id: UUID | None
    currency: str
    amount: int
    balance: int | None
    entered_at: datetime


@dataclass(frozen=True, slots=True)
class Moved(Generic[R]):
    """What a movement comes to, before it is written: its answer, the accounts it changed, its entries."""

    answer: R
    changed: tuple[Account, ...]
    entries: tuple[Entry, ...]

    def write(self, session: Session) -> R:
        """Write the entries of this one movement; the session writes the accounts by itself."""
        enter(session, self.entries)
        return self.answer


def enter(session: Session, entries: Iterable[Entry]) -> None:
    """Add entries to the ledger."""
    session.add_all(LedgerEntry(**entry._asdict()) for entry in entries)


def write_all(session: Session, movements: Iterable[Moved[R]]) -> None:
    """Write many movements in two statements; each account's last balance counts.

    Nothing else may be asked of the session afterwards.
    """
    accounts: dict[UUID, Account] = {}
    entries: list[Entry] = []
    for moved in movements:
        accounts |= {account.id: account for account in moved.changed}
        entries += moved.entries
    balances = [account.balance for account in accounts.values()]
    with last_round_trip(session):
        # The entries first: their foreign keys find accounts that are locked and not yet changed, which costs them
        # nothing more.
        insert_many(session, LedgerEntry, dict(zip(Entry._fields, zip(*entries, strict=True), strict=False)))
        update_many(session, Account, {"id": list(accounts), "balance": balances})


def entries_of(
    work: UnitOfWork, currency: str, source: Account | None, target: Account | None, amount: int
) -> tuple[Entry, Entry]:
    """Both legs: out of the source, into the target, once the money has moved; None is the system account."""
    return _leg(work, currency, source, -amount), _leg(work, currency, target, amount)


def _leg(work: UnitOfWork, currency: str, account: Account | None, amount: int) -> Entry:
    key, balance = (None, None) if account is None else (account.id, account.balance)
    return Entry(work.job_id, key, currency, amount, balance, work.now)


def receipt_of(work: UnitOfWork, source: Account, target: Account, amount: int) -> Receipt:
    """The document that a transfer leaves."""
    return Receipt(
        id=work.job_id,
        source=source.id,
        target=target.id,
        amount=amount,
        currency=source.currency,
        source_balance=source.balance,
        target_balance=target.balance,
        time=work.now,
    )


def refuse_unlike(source: Account, target: Account) -> None:
    """Raise `CurrencyMismatch` unless both hold the same currency."""
    if source.currency != target.currency:
        raise CurrencyMismatch(f"{source.currency} cannot go to an account in {target.currency}", field="target")


def refuse_same(source: UUID, target: UUID) -> None:
    """Raise `SameAccount` if they are one."""
    if source == target:
        raise SameAccount("source and target are the same account", field="target")


def _receipt_told(row: Any) -> Receipt | None:
    """The receipt of a movement between two accounts; None for one from before balances were kept."""
    if row.source_balance is None or row.target_balance is None:
        return None
    return Receipt(id=row.key, **{name: getattr(row, name) for name in Receipt.model_fields if name != "id"})


_out, _in = LedgerEntry, aliased(LedgerEntry, name="received")
_both = (_in.movement_id == _out.movement_id) & (_in.amount > 0) & _in.account_id.is_not(None)

project(
    Projection(
        collection=Receipt.collection,
        rows=select(
            _out.account_id.label("source"),
            _in.account_id.label("target"),
            _in.amount.label("amount"),
            _out.currency.label("currency"),
            _out.balance.label("source_balance"),
            _in.balance.label("target_balance"),
            _out.entered_at.label("time"),
        )
        .join(_in, _both)
        .where(_out.amount < 0, _out.account_id.is_not(None)),
        key=_out.movement_id,
        written=Account,  # whoever moves money between accounts changes both; the ledger itself cannot be locked
        content=_receipt_told,
    )
)
