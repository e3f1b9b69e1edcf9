"""Reconcile documents: prove that each equals its row, and repair those that do not."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func, select

from tasks.maintenance.comparing import FIRST_MAX, NOTED_MAX, Suspects, compare, highest_version
from tasks.maintenance.once import once
from tasks.maintenance.repairing import Repairs
from tasks.model.projections import PROJECTIONS
from tasks.model.reports import write_report
from worker import Command, Crontab, Rejected, Result, Schedule, Unavailable, UnitOfWork, job

NAME: Final = "reconcile_documents"
PROBLEMS: Final = ("missing", "altered", "extra")
KEY_MAX: Final = 150
"""Characters of an id that are told: somebody may have put there anything."""


class ReconcileDocuments(Command):
    """Prove that every document equals its row, and repair those that do not."""


class CollectionChecked(Result):
    """A collection: how many documents it has, and how many were missing, altered, or had no row."""

    documents: int
    missing: int
    altered: int
    extra: int


class Differing(Result):
    """A document that was not what its row says; `repaired`: it is owed anew."""

    collection: str
    id: str
    problem: str
    repaired: bool


class DocumentsReconciled(Result):
    """What was compared, what differed, and what became of it.

    `left` are for the next run: others had them in hand, or there were too many. `stubborn` cannot be replaced by
    any delivery: their version or id is not one that the runtime writes. `versions_raised`: versions are drawn
    above those of MongoDB now; they were not, as after a restore of PostgreSQL.
    """

    collections: dict[str, CollectionChecked]
    differences: int
    repaired: int
    left: int
    stubborn: int
    versions_raised: bool
    first: list[Differing]


@job("maintenance.reconcile_documents", private=["first"], schedule=Schedule(Crontab("0 3 * * *")))
def reconcile_documents(_command: ReconcileDocuments, work: UnitOfWork) -> DocumentsReconciled:
    """List the documents, raise the versions above theirs, compare the rows, repair; report of the day.

    When there are more to repair than fit into one run, the next one is enqueued.
    """
    _alone(work)
    suspects = [Suspects(projection) for projection in sorted(PROJECTIONS, key=lambda each: each.table)]
    highest = max(highest_version(each, work, NOTED_MAX) for each in suspects)
    raised = work.documents.outrun(highest)
    for each in suspects:
        compare(each, work, NOTED_MAX)
    repairs = Repairs()
    repairs.repair(suspects, work)
    found = _told(suspects, repairs, versions_raised=raised)
    write_report(work, NAME, work.now.date(), found.model_dump(mode="json"))
    if repairs.full or any(each.unnoted for each in suspects):
        work.enqueue(ReconcileDocuments())
    return found


@reconcile_documents.batch
def reconcile_documents_once(
    asked: Sequence[tuple[ReconcileDocuments, UnitOfWork]],
) -> Sequence[Result | Rejected]:
    """Many who ask at the same time get one answer."""
    return once(reconcile_documents, asked)


def _alone(work: UnitOfWork) -> None:
    """Two that repair the same at the same time would only be in each other's way."""
    mine = select(func.pg_try_advisory_xact_lock(func.hashtext(f"maintenance.{NAME}")))
    if not work.session.scalar(mine):
        raise Unavailable("another job is just reconciling the documents")


def _told(suspects: Sequence[Suspects], repairs: Repairs, *, versions_raised: bool) -> DocumentsReconciled:
    stubborn = [(each.projection.collection, *one) for each in suspects for one in each.first_stubborn]
    first = [_differing(*one, repaired=True) for one in repairs.done[:FIRST_MAX]]
    first += [_differing(*one, repaired=False) for one in stubborn[: FIRST_MAX - len(first)]]
    return DocumentsReconciled(
        collections={
            each.projection.collection: CollectionChecked(
                documents=each.documents, **{problem: each.found[problem] for problem in PROBLEMS}
            )
            for each in suspects
        },
        differences=sum(each.found.total() for each in suspects),
        repaired=len(repairs.done),
        left=repairs.busy + repairs.full + sum(each.unnoted for each in suspects),
        stubborn=sum(each.stubborn for each in suspects),
        versions_raised=versions_raised,
        first=first,
    )


def _differing(collection: str, key: Any, problem: str, *, repaired: bool) -> Differing:
    # Whatever somebody planted: a report's size must not decide whether repairs commit.
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(key)[:KEY_MAX])
    shown = plain.encode("utf-8", "replace")[:KEY_MAX].decode(errors="ignore")
    return Differing(collection=collection, id=shown, problem=problem, repaired=repaired)
