"""Repairing documents: looked at once more, with what protects them locked, and written as every document is.

For a row nobody is waited for: what somebody else has in hand is left for the next run. Only to remove a document
that has no row, those who write to its table are waited for, a second at most, and then kept out until the commit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tasks.maintenance.comparing import Suspects
from tasks.model.projections import PAGE, Content
from worker import Document, UnitOfWork

BYTES_MAX: Final = 32 * 1024 * 1024
"""What one run may owe: all of it is in one row of the outbox. Less is noted, but a row may have grown since."""


class Repaired(NamedTuple):
    """A document that was written anew, or taken away."""

    collection: str
    key: Any
    problem: str


@dataclass(slots=True)
class Repairs:
    """What was repaired, and how many documents were left, because others had them in hand, or the run was full."""

    done: list[Repaired] = field(default_factory=list)
    left: int = 0
    bytes: int = 0

    def repair(self, suspects: Sequence[Suspects], work: UnitOfWork) -> None:
        """Repair what is noted; last of all what locks whole tables, so that none is locked during the rest."""
        for each in suspects:
            for ids in _pages(each.rows):
                self._repair_rows(each, ids, work)
        for each in suspects:
            if each.extra:
                self._remove(each, work)

    def _repair_rows(self, suspects: Suspects, ids: Sequence[str], work: UnitOfWork) -> None:
        projection = suspects.projection
        wanted = projection.locked(work.session, ids)
        self.left += len(ids) - len(wanted)
        for wrong in work.documents.differences(projection.collection, wanted):
            suspects.found[wrong.problem] += 1
            if self.bytes + wrong.size > BYTES_MAX:
                self.left += 1
                continue
            self.bytes += wrong.size
            _store(work, projection.collection, wrong.key, wanted[wrong.key])
            self.done.append(Repaired(projection.collection, wrong.key, wrong.problem))

    def _remove(self, suspects: Suspects, work: UnitOfWork) -> None:
        # There is no row to lock. So everybody is kept out who could make one: until the commit, which is soon.
        projection = suspects.projection
        if not _locked_out(projection.table, work):
            self.left += len(suspects.extra)
            return
        for page in _pages(suspects.extra):
            absent = set(page) - projection.present(work.session, page)
            for wrong in work.documents.differences(projection.collection, dict.fromkeys(absent)):
                suspects.found[wrong.problem] += 1
                work.remove_from(projection.collection, wrong.key)
                self.done.append(Repaired(projection.collection, wrong.key, wrong.problem))


def _store(work: UnitOfWork, collection: str, key: str, content: Content) -> None:
    if isinstance(content, Document):
        work.store(content)
    else:
        work.store_in(collection, key, content)


def _locked_out(table: str, work: UnitOfWork) -> bool:
    """Wait for those who write to this table, for a second, and then keep them out."""
    try:
        with work.session.begin_nested():
            work.session.execute(text("SET LOCAL lock_timeout = '1s'"))
            work.session.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
    except OperationalError:
        return False
    work.session.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
    return True


def _pages(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (ids[start : start + PAGE] for start in range(0, len(ids), PAGE))
