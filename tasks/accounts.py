"""Accounts: open them, fill them, move money between them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from tasks.currencies import CURRENCIES
from tasks.model import BALANCE_MAX, Account, LedgerEntry, User
from worker import Command, Document, MinorUnits, Rejected, Result, UnitOfWork, job


def _known(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError("must be an active currency code of ISO 4217, like EUR")
    return code


Currency = Annotated[str, AfterValidator(_known)]


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


class Open(Command):
    """Open an account for a user."""

    owner_id: UUID
    currency: Currency
    opening_balance: Annotated[int, Field(ge=0, le=BALANCE_MAX)] = 0


class AccountView(Result):
    """An account as results show it."""

    id: UUID
    owner_id: UUID
    currency: str
    balance: int


class Opened(Result):
    """The new account."""

    account: AccountView


class Deposit(Command):
    """Bring money in from outside."""

    account: UUID
    amount: MinorUnits


class Deposited(Result):
    """The account, and its balance after the deposit."""

    account: UUID
    balance: int


class Transfer(Command):
    """Move money between two accounts of one currency."""

    source: UUID
    target: UUID
    amount: MinorUnits


class Transferred(Result):
    """The transfer, and both balances after it."""

    transfer: UUID
    source_balance: int
    target_balance: int


def its_owner(command: Open) -> Iterator[tuple[type[User], UUID]]:
    """The user that the account will belong to."""
    yield User, command.owner_id


def its_account(command: Deposit) -> Iterator[tuple[type[Account], UUID]]:
    """The account that the money goes to."""
    yield Account, command.account


def both_accounts(command: Transfer) -> Iterator[tuple[type[Account], UUID]]:
    """The accounts on both sides."""
    yield Account, command.source
    yield Account, command.target


@job("accounts.open", subject="accounts/{job_id}", locks=its_owner)
def open_account(command: Open, work: UnitOfWork) -> Opened:
    """Open the account under the job's own id; an opening balance comes from the system account."""
    owner = work.get(User, command.owner_id)
    account = Account(
        id=work.job_id, owner_id=owner.id, currency=command.currency, balance=0, opened_at=work.now, closed_at=None
    )
    work.session.add(account)
    if command.opening_balance:
        account.deposit(command.opening_balance)
        work.session.flush()  # the entry refers to the account by its id alone, so the account goes first
        _enter(work, account.currency, None, -command.opening_balance)
        _enter(work, account.currency, account.id, command.opening_balance)
    view = AccountView(id=account.id, owner_id=owner.id, currency=account.currency, balance=account.balance)
    return Opened(account=view)


@job("accounts.deposit", subject="accounts/{account}", locks=its_account)
def deposit(command: Deposit, work: UnitOfWork) -> Deposited:
    """Take from the currency's system account, give to the account."""
    account = work.get(Account, command.account)
    account.deposit(command.amount)
    _enter(work, account.currency, None, -command.amount)
    _enter(work, account.currency, account.id, command.amount)
    return Deposited(account=account.id, balance=account.balance)


@job("accounts.transfer", subject="accounts/{source}", locks=both_accounts)
def transfer(command: Transfer, work: UnitOfWork) -> Transferred:
    """Take from the source, give to the target, and leave a receipt."""
    if command.source == command.target:
        raise SameAccount("source and target are the same account", field="target")
    source, target = work.get(Account, command.source), work.get(Account, command.target)
    if source.currency != target.currency:
        raise CurrencyMismatch(f"{source.currency} cannot go to an account in {target.currency}", field="target")
    source.withdraw(command.amount)
    target.deposit(command.amount)
    _enter(work, source.currency, source.id, -command.amount)
    _enter(work, source.currency, target.id, command.amount)
    work.store(_receipt(work, source, target, command.amount))
    return Transferred(transfer=work.job_id, source_balance=source.balance, target_balance=target.balance)


def _enter(work: UnitOfWork, currency: str, account_id: UUID | None, amount: int) -> None:
    entry = LedgerEntry(
        movement_id=work.job_id, account_id=account_id, currency=currency, amount=amount, entered_at=work.now
    )
    work.session.add(entry)


def _receipt(work: UnitOfWork, source: Account, target: Account, amount: int) -> Receipt:
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
