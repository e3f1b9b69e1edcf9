"""What every movement of money leaves behind: two ledger entries that sum to zero, and a receipt."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from tasks.model import Account, LedgerEntry
from worker import Document, Rejected, Result, UnitOfWork, insert_many, update_many

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
    """Write many movements in two statements; each account's last balance counts."""
    accounts: dict[UUID, Account] = {}
    entries: list[Entry] = []
    for moved in movements:
        accounts |= {account.id: account for account in moved.changed}
        entries += moved.entries
    balances = [account.balance for account in accounts.values()]
    update_many(session, Account, {"id": list(accounts), "balance": balances})
    insert_many(session, LedgerEntry, dict(zip(Entry._fields, zip(*entries, strict=True), strict=False)))


def entries_of(
    work: UnitOfWork, currency: str, source: UUID | None, target: UUID | None, amount: int
) -> tuple[Entry, Entry]:
    """Both legs: out of the source, into the target; None is the currency's system account."""
    return (
        Entry(work.job_id, source, currency, -amount, work.now),
        Entry(work.job_id, target, currency, amount, work.now),
    )


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
