"""Reconcile the ledger: prove that the money adds up. What does not is told, and never touched."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text

from tasks.maintenance.laws import LAWS, counts, violations
from tasks.maintenance.once import once
from tasks.model.reports import write_report
from worker import Command, Crontab, Rejected, Result, Schedule, UnitOfWork, job

NAME: Final = "reconcile_ledger"
EACH_MAX: Final = 20
"""Violations of each law that are told one by one; all are counted."""

_INT64: Final = 2**63 - 1


class ReconcileLedger(Command):
    """Prove that the entries, the balances and the holds add up."""


class Violation(Result):
    """What breaks a law: a currency, a movement or an account; amounts in minor units."""

    law: str
    about: str
    currency: str
    expected: int | None
    found: int


class LedgerReconciled(Result):
    """What was looked at, how many violations each law has, and the first ones of each."""

    accounts: int
    entries: int
    open_holds: int
    violations: int
    by_law: dict[str, int]
    first: list[Violation]


@job("maintenance.reconcile_ledger", private=["first"], schedule=Schedule(Crontab("40 2 * * *")))
def reconcile_ledger(_command: ReconcileLedger, work: UnitOfWork) -> LedgerReconciled:
    """Ask all laws in one statement, of one snapshot, and write what it says into the report of the day."""
    _be_patient(work)
    broken = work.session.execute(violations(EACH_MAX)).all()
    counted = work.session.execute(counts()).one()
    by_law = dict.fromkeys(LAWS, 0) | {row.law: int(row.violations) for row in broken}
    found = LedgerReconciled(
        **counted._asdict(),
        violations=sum(by_law.values()),
        by_law=by_law,
        first=[_told(row) for row in broken],
    )
    write_report(work, NAME, work.now.date(), found.model_dump(mode="json"))
    return found


@reconcile_ledger.batch
def reconcile_ledger_once(asked: Sequence[tuple[ReconcileLedger, UnitOfWork]]) -> Sequence[Result | Rejected]:
    """Many who ask at the same time get one answer."""
    return once(reconcile_ledger, asked)


def _told(row: Any) -> Violation:
    expected = None if row.expected is None else _within(row.expected)
    return Violation(
        law=row.law, about=row.about, currency=row.currency, expected=expected, found=_within(row.found)
    )


def _within(amount: Any) -> int:
    # What is damaged may be larger than any store's integer.
    return max(-_INT64, min(int(amount), _INT64))


def _be_patient(work: UnitOfWork) -> None:
    """Let a statement take half of the time that a batch has: six times what it usually may."""
    work.session.execute(
        text(
            "SELECT set_config('statement_timeout', (6 * setting::bigint)::text, true)"
            " FROM pg_settings WHERE name = 'statement_timeout'"
        )
    )
