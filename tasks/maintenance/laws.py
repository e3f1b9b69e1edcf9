"""What is true of money whatever happens, each law as a query of what breaks it: what should be, and what is."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import CompoundSelect, Numeric, Select, Text, cast, func, literal, null, select, union_all
from sqlalchemy.sql import ColumnElement, Subquery

from tasks.model import Account, Hold, LedgerEntry

_ZERO: Final = literal(0, Numeric)


def _sums(key: Any, amount: Any, *conditions: ColumnElement[bool]) -> Subquery:
    return select(key.label("key"), func.sum(amount).label("sum")).where(*conditions).group_by(key).subquery()


_entered = _sums(LedgerEntry.account_id, LedgerEntry.amount, LedgerEntry.account_id.is_not(None))
_reserved = _sums(Hold.source_id, Hold.amount, Hold.resolved_at.is_(None))
_entered_sum, _reserved_sum = func.coalesce(_entered.c.sum, 0), func.coalesce(_reserved.c.sum, 0)


def _broken(about: Any, currency: Any, expected: Any, found: Any) -> Select[Any]:
    return select(
        cast(about, Text).label("about"),
        currency.label("currency"),
        cast(expected, Numeric).label("expected"),
        cast(found, Numeric).label("found"),
    )


def _account(expected: Any, found: Any) -> Select[Any]:
    return _broken(Account.id, Account.currency, expected, found)


LAWS: Final[Mapping[str, Select[Any]]] = {
    "currency_sum": _broken(LedgerEntry.currency, LedgerEntry.currency, _ZERO, func.sum(LedgerEntry.amount))
    .group_by(LedgerEntry.currency)
    .having(func.sum(LedgerEntry.amount) != 0),
    "movement_sum": _broken(LedgerEntry.movement_id, LedgerEntry.currency, _ZERO, func.sum(LedgerEntry.amount))
    .group_by(LedgerEntry.movement_id, LedgerEntry.currency)
    .having(func.sum(LedgerEntry.amount) != 0),
    "entry_currency": _broken(LedgerEntry.movement_id, LedgerEntry.currency, null(), LedgerEntry.amount)
    .join(Account, Account.id == LedgerEntry.account_id)
    .where(Account.currency != LedgerEntry.currency),
    "balance": _account(_entered_sum, Account.balance)
    .outerjoin(_entered, _entered.c.key == Account.id)
    .where(Account.balance != _entered_sum),
    "below_zero": _account(_ZERO, Account.balance).where(Account.balance < 0),
    "held": _account(_reserved_sum, Account.held)
    .outerjoin(_reserved, _reserved.c.key == Account.id)
    .where(Account.held != _reserved_sum),
    "held_above_balance": _account(Account.balance, _reserved_sum)
    .join(_reserved, _reserved.c.key == Account.id)
    .where(_reserved_sum > Account.balance),
}
"""By name. `about` is a currency, a movement or an account; amounts are in minor units."""


def violations(each_max: int) -> CompoundSelect[Any]:
    """One statement, and so one snapshot, of all that breaks a law: how many break each, and the first of them."""
    return union_all(*(_first(law, broken, each_max) for law, broken in LAWS.items()))


def counts() -> Select[Any]:
    """How many accounts, entries and open holds there are."""
    return select(
        select(func.count()).select_from(Account).scalar_subquery().label("accounts"),
        select(func.count()).select_from(LedgerEntry).scalar_subquery().label("entries"),
        select(func.count())
        .select_from(Hold)
        .where(Hold.resolved_at.is_(None))
        .scalar_subquery()
        .label("open_holds"),
    )


def _first(law: str, broken: Select[Any], each_max: int) -> Select[Any]:
    all_of_it = broken.subquery()
    counted = select(literal(law, Text).label("law"), all_of_it, func.count().over().label("violations"))
    return select(counted.order_by(all_of_it.c.about, all_of_it.c.currency).limit(each_max).subquery())
