"""Reconcile documents: prove that each equals its row, and repair those that do not."""

import time
from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select

from tasks.maintenance.comparing import FIRST_MAX, Part, Suspects
from tasks.maintenance.passes import save, take_up
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
    """What was compared since the pass began, what differed, and what became of it.

    `complete`: the pass has been through everything; else another job goes on with it. `left` are for the next
    pass: others had them in hand, or the run was full. `stubborn` cannot be replaced by any delivery: their version
    or id is not one that the runtime writes. `versions_raised`: versions are drawn above those of MongoDB now; they
    were not, as after a restore of PostgreSQL.
    """

    complete: bool
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

    What does not fit into one run is left to another, which is enqueued and goes on from there.
    """
    return _reconcile(work, [work.job_id])


@reconcile_documents.batch
def reconcile_documents_once(
    asked: Sequence[tuple[ReconcileDocuments, UnitOfWork]],
) -> Sequence[Result | Rejected]:
    """Many who ask at the same time get one answer."""
    _, work = asked[0]
    return [_reconcile(work, [one.job_id for _, one in asked])] * len(asked)


def _reconcile(work: UnitOfWork, jobs: Sequence[UUID]) -> DocumentsReconciled:
    _alone(work)
    begun = take_up(work, jobs)
    suspects = [Suspects(projection) for projection in sorted(PROJECTIONS, key=lambda each: each.table)]
    part = Part(suspects, time.monotonic() + work.share_s)
    raised = part.look(begun.position, work)
    repairs = Repairs()
    repairs.repair(suspects, work)
    found = _told(suspects, repairs, versions_raised=raised, complete=part.stopped is None)
    if begun.found is not None:
        found = _together(DocumentsReconciled.model_validate_json(begun.found), found)
    write_report(work, NAME, begun.began_at.astimezone(UTC).date(), found.model_dump(mode="json"))
    if part.stopped is not None:
        save(work, begun, part.stopped, work.enqueue(ReconcileDocuments()), found.model_dump_json())
    return found


def _alone(work: UnitOfWork) -> None:
    """Two that repair the same at the same time would only be in each other's way."""
    mine = select(func.pg_try_advisory_xact_lock(func.hashtext(f"maintenance.{NAME}")))
    if not work.session.scalar(mine):
        raise Unavailable("another job is just reconciling the documents")


def _together(before: DocumentsReconciled, now: DocumentsReconciled) -> DocumentsReconciled:
    """What the pass has come to: counts are added up, and the first differences stay the first."""
    nothing = CollectionChecked(documents=0, **dict.fromkeys(PROBLEMS, 0))
    return DocumentsReconciled(
        complete=now.complete,
        collections=before.collections
        | {name: _sum(before.collections.get(name, nothing), checked) for name, checked in now.collections.items()},
        differences=before.differences + now.differences,
        repaired=before.repaired + now.repaired,
        left=before.left + now.left,
        stubborn=before.stubborn + now.stubborn,
        versions_raised=before.versions_raised or now.versions_raised,
        first=(before.first + now.first)[:FIRST_MAX],
    )


def _sum(one: CollectionChecked, other: CollectionChecked) -> CollectionChecked:
    counts = {name: count + getattr(other, name) for name, count in one.model_dump().items()}
    return CollectionChecked(**counts)


def _told(
    suspects: Sequence[Suspects], repairs: Repairs, *, versions_raised: bool, complete: bool
) -> DocumentsReconciled:
    stubborn = [(each.projection.collection, *one) for each in suspects for one in each.first_stubborn]
    first = [_differing(*one, repaired=True) for one in repairs.done[:FIRST_MAX]]
    first += [_differing(*one, repaired=False) for one in stubborn[: FIRST_MAX - len(first)]]
    return DocumentsReconciled(
        complete=complete,
        collections={
            each.projection.collection: CollectionChecked(
                documents=each.documents, **{problem: each.found[problem] for problem in PROBLEMS}
            )
            for each in suspects
        },
        differences=sum(each.found.total() for each in suspects),
        repaired=len(repairs.done),
        left=repairs.left,
        stubborn=sum(each.stubborn for each in suspects),
        versions_raised=versions_raised,
        first=first,
    )


def _differing(collection: str, key: Any, problem: str, *, repaired: bool) -> Differing:
    # Whatever somebody planted: a report's size must not decide whether repairs commit.
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(key)[:KEY_MAX])
    shown = plain.encode("utf-8", "replace")[:KEY_MAX].decode(errors="ignore")
    return Differing(collection=collection, id=shown, problem=problem, repaired=repaired)
