"""Every table of the business, and the rules that belong to a row."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worker import InvalidPayload, NotFound, Rejected

BALANCE_MAX: Final = 2**53 - 1
"""The largest balance, in minor units: every JSON reader still holds it exactly."""

WORDS: Final = "simple"
"""PostgreSQL's configuration for the words of posts: as they are written, since nobody says in what language."""


class AccountClosed(Rejected):
    """The account is closed."""

    code = "account_closed"


class InsufficientFunds(Rejected):
    """The account has less than the amount available."""

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
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)

    def refuse_deleted(self) -> None:
        """Raise `NotFound` if only the row is left, because closed accounts refer to it."""
        if self.deleted_at is not None:
            raise NotFound(User, self.id)

    def anonymise(self, now: datetime) -> None:
        """Leave nothing personal in the row."""
        self.name, self.email = "deleted", f"{self.id}@deleted.invalid"
        self.active, self.deleted_at, self.updated_at = False, now, now


Index("users_email_key", func.lower(User.email), unique=True)
Index("users_created_at_idx", User.created_at, User.id, postgresql_where=User.deleted_at.is_(None))
Index("users_name_idx", User.name, User.id, postgresql_where=User.deleted_at.is_(None))


class Post(Base):
    """What a user wrote. Its author never changes, and it goes with its author."""

    __tablename__ = "posts"
    __table_args__ = (
        # Each also brings its posts in the order of their creation, and can be counted without the table.
        Index("posts_created_at_idx", "created_at", "id"),
        Index("posts_published_idx", "published", "created_at", "id"),
        Index("posts_author_id_idx", "author_id", "created_at", "id"),
        Index("posts_title_idx", "title", "id"),
        Index("posts_words_idx", "words", postgresql_using="gin"),
    )
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - as SQLAlchemy reads it; nobody asks for the words

    id: Mapped[UUID] = mapped_column(primary_key=True)
    author_id: Mapped[UUID] = mapped_column(ForeignKey(User.id))
    title: Mapped[str]
    content: Mapped[str]
    published: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    words: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(f"strip(to_tsvector('{WORDS}'::regconfig, (title || ' '::text) || content))", persisted=True),
        deferred=True,
        comment="what a search by text looks in",
    )


class Account(Base):
    """Money of one user in one currency, in minor units. What open holds reserve is part of the balance."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(f"balance BETWEEN 0 AND {BALANCE_MAX}", name="balance"),
        CheckConstraint("held BETWEEN 0 AND balance", name="held"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey(User.id), index=True)
    currency: Mapped[str]
    balance: Mapped[int] = mapped_column(BigInteger, default=0)
    held: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    @property
    def available(self) -> int:
        """What can be taken: the balance without what open holds reserve."""
        return self.balance - self.held

    def deposit(self, amount: int) -> None:
        """Add the amount. Raises `AccountClosed`, or `InvalidPayload` when the balance would grow too large."""
        self.refuse_closed()
        if self.balance + amount > BALANCE_MAX:
            raise InvalidPayload(f"the balance of account {self.id} would pass {BALANCE_MAX}", field="amount")
        self.balance += amount

    def withdraw(self, amount: int) -> None:
        """Take the amount. Raises `AccountClosed`, or `InsufficientFunds` when less is available."""
        self._require(amount)
        self.balance -= amount

    def pay(self, target: "Account", amount: int) -> None:
        """Take the amount and give it to the other account; both stay as they are when either refuses."""
        self.withdraw(amount)
        try:
            target.deposit(amount)
        except Rejected:
            self.balance += amount
            raise

    def reserve(self, amount: int) -> None:
        """Hold the amount back. Raises `AccountClosed`, or `InsufficientFunds` when less is available."""
        self._require(amount)
        self.held += amount

    def refuse_closed(self) -> None:
        """Raise `AccountClosed` if it is."""
        if self.closed_at is not None:
            raise AccountClosed(f"account {self.id} is closed")

    def _require(self, amount: int) -> None:
        self.refuse_closed()
        if self.available < amount:
            raise InsufficientFunds(f"account {self.id} has less than {amount} available", field="amount")


class Hold(Base):
    """An amount that is kept back on its source until it is captured for its target, or released.

    Source and target never change. It is open until `resolved_at`; then `captured` tells what went to the target.
    """

    __tablename__ = "holds"
    __table_args__ = (CheckConstraint("captured BETWEEN 0 AND amount", name="captured"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id), index=True)
    target_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id), index=True)
    amount: Mapped[int] = mapped_column(BigInteger, comment="minor units")
    captured: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    held_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]


Index(
    "holds_expiring_idx",
    Hold.expires_at,
    postgresql_where=Hold.resolved_at.is_(None) & Hold.expires_at.is_not(None),
)


class LedgerEntry(Base):
    """One leg of a movement of money; the entries of a movement sum to zero.

    An entry without an account belongs to its currency's system account, where money enters and leaves.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount"),
        # By blocks, which costs those who write nothing: entries come in the order of their times.
        Index("ledger_entries_entered_at_idx", "entered_at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    movement_id: Mapped[UUID] = mapped_column(index=True, comment="the job that moved the money")
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey(Account.id), index=True)
    currency: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger, comment="minor units: positive came in, negative went out")
    balance: Mapped[int | None] = mapped_column(BigInteger, comment="of the account, after this entry")
    entered_at: Mapped[datetime]
