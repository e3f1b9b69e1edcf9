"""Every table of the business, and the rules that belong to a row."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, Index, MetaData, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worker import InvalidPayload, Rejected

BALANCE_MAX: Final = 2**53 - 1
"""The largest balance, in minor units: every JSON reader still holds it exactly."""


class AccountClosed(Rejected):
    """The account is closed."""

    code = "account_closed"


class InsufficientFunds(Rejected):
    """The account holds less than the amount."""

    code = "insufficient_funds"


class Base(DeclarativeBase):
    """The tables of the business share their naming."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_name)s_idx",
            "uq": "%(table_name)s_%(column_0_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map = {str: Text, datetime: DateTime(timezone=True)}  # noqa: RUF012 - as SQLAlchemy reads it


class User(Base):
    """Somebody who owns accounts and writes posts."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


Index("users_email_key", func.lower(User.email), unique=True)


class Account(Base):
    """Money of one user in one currency, in minor units."""

    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint(f"balance BETWEEN 0 AND {BALANCE_MAX}", name="balance"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey(User.id), index=True)
    currency: Mapped[str]
    balance: Mapped[int] = mapped_column(BigInteger, default=0)
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    def deposit(self, amount: int) -> None:
        """Add the amount. Raises `AccountClosed`, or `InvalidPayload` when the balance would grow too large."""
        self._refuse_closed()
        if self.balance + amount > BALANCE_MAX:
            raise InvalidPayload(f"the balance of account {self.id} would pass {BALANCE_MAX}", field="amount")
        self.balance += amount

    def withdraw(self, amount: int) -> None:
        """Take the amount. Raises `AccountClosed`, or `InsufficientFunds` when the balance is smaller."""
        self._refuse_closed()
        if self.balance < amount:
            raise InsufficientFunds(f"account {self.id} holds less than {amount}", field="amount")
        self.balance -= amount

    def _refuse_closed(self) -> None:
        if self.closed_at is not None:
            raise AccountClosed(f"account {self.id} is closed")


class LedgerEntry(Base):
    """One leg of a movement of money; the entries of a movement sum to zero.

    An entry without an account belongs to its currency's system account, where money enters and leaves.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (CheckConstraint("amount <> 0", name="amount"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    movement_id: Mapped[UUID] = mapped_column(index=True, comment="the job that moved the money")
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey(Account.id), index=True)
    currency: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger, comment="minor units: positive came in, negative went out")
    entered_at: Mapped[datetime]
