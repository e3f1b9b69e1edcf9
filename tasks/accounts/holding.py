"""Two-phase transfers: hold the money back first, then capture all or part of it, or release it.

A hold resolves at most once: its row is locked, and `resolved_at` is set in the transaction that moves the money.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field
from sqlalchemy import select

from tasks.accounts.postings import Moved, entries_of, receipt_of, refuse_same, refuse_unlike
from tasks.model import Account, Hold
from worker import (
    Command,
    Every,
    InvalidPayload,
    MinorUnits,
    Rejected,
    Result,
    Schedule,
    Through,
    UnitOfWork,
    job,
)

EXPIRES_MAX_S: Final = 366 * 24 * 3600
EXPIRE_MAX: Final = 1_000
"""Holds that one `maintenance.expire_holds` sends to their release; the rest is for the next one."""


class HoldResolved(Rejected):
    """The hold was captured, released, or has expired."""

    code = "hold_resolved"


class HoldMoney(Command):
    """Keep an amount back for a transfer that is captured later; without `expires_in_s` it never expires."""

    source: UUID
    target: UUID
    amount: MinorUnits
    expires_in_s: Annotated[int, Field(ge=1, le=EXPIRES_MAX_S)] | None = None


class Held(Result):
    """The hold, and what of the source is still available."""

    hold: UUID
    source: UUID
    target: UUID
    amount: int
    source_available: int


class Capture(Command):
    """Take the held money to its target: all of it, or `amount`; what is left is released."""

    hold: UUID
    amount: MinorUnits | None = None


class Captured(Result):
    """The transfer that came of the hold, and both balances after it."""

    hold: UUID
    transfer: UUID
    source: UUID
    amount: int
    source_balance: int
    target_balance: int


class Release(Command):
    """Give the held money back to its source."""

    hold: UUID


class Released(Result):
    """The hold, and what of the source is available now."""

    hold: UUID
    source: UUID
    amount: int
    source_available: int


class ExpireHolds(Command):
    """Release the holds whose time is up."""


class Expiring(Result):
    """How many holds were sent to their release."""

    holds: int


def both_accounts(command: HoldMoney) -> Iterator[tuple[type[Account], UUID]]:
    """The accounts on both sides."""
    yield Account, command.source
    yield Account, command.target


def the_hold(command: Capture | Release) -> Iterator[tuple[type[Hold], UUID] | Through]:
    """The hold, and the accounts on both sides of it."""
    yield Hold, command.hold
    yield Through(Hold, command.hold, "source_id", Account)
    yield Through(Hold, command.hold, "target_id", Account)


@job("accounts.hold", subject="accounts/{source}", locks=both_accounts)
def hold(command: HoldMoney, work: UnitOfWork) -> Held:
    """Reserve the amount on the source; no money moves yet."""
    refuse_same(command.source, command.target)
    source, target = work.get(Account, command.source), work.get(Account, command.target)
    refuse_unlike(source, target)
    target.refuse_closed()
    source.reserve(command.amount)
    lasts = None if command.expires_in_s is None else timedelta(seconds=command.expires_in_s)
    held = Hold(
        id=work.job_id,
        source_id=source.id,
        target_id=target.id,
        amount=command.amount,
        captured=0,
        held_at=work.now,
        expires_at=lasts and work.now + lasts,
        resolved_at=None,
    )
    work.session.add(held)
    return Held(
        hold=held.id,
        source=source.id,
        target=target.id,
        amount=held.amount,
        source_available=source.available,
    )


@job("accounts.capture", subject="accounts/{source}", locks=the_hold)
def capture(command: Capture, work: UnitOfWork) -> Captured:
    """Post the held amount, all or part: the same entries and receipt as a transfer."""
    held = _open_hold(command.hold, work)
    if held.expires_at is not None and held.expires_at <= work.now:
        raise HoldResolved(f"hold {held.id} expired at {held.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    amount = held.amount if command.amount is None else command.amount
    if amount > held.amount:
        raise InvalidPayload(f"hold {held.id} is of {held.amount}: no more can be captured", field="amount")
    source, target = work.get(Account, held.source_id), work.get(Account, held.target_id)
    source.held -= held.amount
    source.pay(target, amount)
    held.captured, held.resolved_at = amount, work.now
    work.store(receipt_of(work, source, target, amount))
    answer = Captured(
        hold=held.id,
        transfer=work.job_id,
        source=source.id,
        amount=amount,
        source_balance=source.balance,
        target_balance=target.balance,
    )
    entries = entries_of(work, source.currency, source, target, amount)
    return Moved(answer, (source, target), entries).write(work.session)


@job("accounts.release", subject="accounts/{source}", locks=the_hold)
def release(command: Release, work: UnitOfWork) -> Released:
    """Void the hold; one that has expired can still be released, and is so by `maintenance.expire_holds`."""
    held = _open_hold(command.hold, work)
    source = work.get(Account, held.source_id)
    source.held -= held.amount
    held.resolved_at = work.now
    return Released(hold=held.id, source=source.id, amount=held.amount, source_available=source.available)


@job("maintenance.expire_holds", schedule=Schedule(Every(60)))
def expire_holds(_command: ExpireHolds, work: UnitOfWork) -> Expiring:
    """Send each expired hold to its release, under an id of its own: however often it is found, it is one job."""
    expired = select(Hold.id).where(Hold.resolved_at.is_(None), Hold.expires_at <= work.now)
    holds = work.session.scalars(expired.order_by(Hold.expires_at).limit(EXPIRE_MAX)).all()
    for found in holds:
        work.enqueue(Release(hold=found), key=f"expired/{found}")
    return Expiring(holds=len(holds))


def _open_hold(key: UUID, work: UnitOfWork) -> Hold:
    held = work.get(Hold, key)
    if held.resolved_at is not None:
        raise HoldResolved(f"hold {held.id} was resolved at {held.resolved_at:%Y-%m-%d %H:%M:%S} UTC")
    return held
