"""Opening and closing accounts."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import AfterValidator, Field

from tasks.accounts.postings import enter, entries_of
from tasks.currencies import CURRENCIES
from tasks.model import BALANCE_MAX, Account, User
from worker import Command, Rejected, Result, UnitOfWork, job


def _known(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError("must be an active currency code of ISO 4217, like EUR")
    return code


_IN_SCHEMA: Final = {"enum": sorted(CURRENCIES)}
Currency = Annotated[str, Field(examples=["EUR"], json_schema_extra=_IN_SCHEMA), AfterValidator(_known)]


class AccountNotEmpty(Rejected):
    """The account still has a balance or an open hold."""

    code = "account_not_empty"


class Open(Command):
    """Open an account for a user."""

    owner_id: UUID
    currency: Currency
    opening_balance: Annotated[int, Field(ge=0, le=BALANCE_MAX)] = 0


class Close(Command):
    """Close an account that is empty."""

    id: UUID


class AccountView(Result):
    """An account as results show it; `held` is the part of the balance that open holds reserve."""

    id: UUID
    owner_id: UUID
    currency: str
    balance: int
    held: int
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, account: Account) -> Self:
        """The account as it is now."""
        return cls(**{name: getattr(account, name) for name in cls.model_fields})


class Opened(Result):
    """The new account."""

    account: AccountView


class Closed(Result):
    """The account as it was closed."""

    account: AccountView


def its_owner(command: Open) -> Iterator[tuple[type[User], UUID]]:
    """The user that the account will belong to."""
    yield User, command.owner_id


def itself(command: Close) -> Iterator[tuple[type[Account], UUID]]:
    """The account that is to be closed."""
    yield Account, command.id


@job("accounts.open", subject="accounts/{job_id}", locks=its_owner)
def open_account(command: Open, work: UnitOfWork) -> Opened:
    """Open the account under the job's own id; an opening balance comes from the system account."""
    owner = work.get(User, command.owner_id)
    owner.refuse_deleted()
    account = Account(
        id=work.job_id,
        owner_id=owner.id,
        currency=command.currency,
        balance=0,
        held=0,
        opened_at=work.now,
        closed_at=None,
    )
    work.session.add(account)
    if command.opening_balance:
        account.deposit(command.opening_balance)
        work.session.flush()  # the entry refers to the account by its id alone, so the account goes first
        enter(work.session, entries_of(work, account.currency, None, account, command.opening_balance))
    return Opened(account=AccountView.of(account))


@job("accounts.close", subject="accounts/{id}", locks=itself)
def close(command: Close, work: UnitOfWork) -> Closed:
    """Close the account for good; only at balance zero, and so with nothing held."""
    account = work.get(Account, command.id)
    account.refuse_closed()
    if account.balance:
        raise AccountNotEmpty(f"account {account.id} has a balance of {account.balance}")
    account.closed_at = work.now
    return Closed(account=AccountView.of(account))
