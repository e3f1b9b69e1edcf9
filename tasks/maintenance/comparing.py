"""Comparing documents with their rows, page by page: what differs is counted, and noted to be looked at again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tasks.model.projections import Content, Projection
from worker import UnitOfWork

NOTED_MAX: Final = 10_000
"""Documents that one run looks at again and repairs; the rest follows in the next one."""

FIRST_MAX: Final = 100
"""Differences that are told one by one; all are counted."""


@dataclass(slots=True)
class Suspects:
    """Documents of one collection that seem to differ.

    At most so many are noted: they are counted when they are looked at again. The others are counted at once.
    """

    projection: Projection
    documents: int = 0
    found: Counter[str] = field(default_factory=Counter)
    rows: list[str] = field(default_factory=list)
    """The ids of documents that have a row."""
    extra: list[Any] = field(default_factory=list)
    """The ids of those that have none."""
    unnoted: int = 0
    stubborn: int = 0
    """Those that no delivery can replace."""
    first_stubborn: list[tuple[Any, str]] = field(default_factory=list)
    """The first of them, each with its problem: there may be any number."""

    def note(self, noted: list[Any], differences: Iterable[Any], room: int) -> None:
        """Note as many of these differences as there is room for; count the others."""
        for difference in differences:
            if difference.repairable and len(self.rows) + len(self.extra) < room:
                noted.append(difference.key)
                continue
            if difference.repairable:
                self.found[difference.problem] += 1
                self.unnoted += 1
            else:
                self.give_up(difference.key, difference.problem)

    def give_up(self, key: Any, problem: str) -> None:
        """Count a document that no delivery can replace, and keep it while few are kept."""
        self.found[problem] += 1
        self.stubborn += 1
        if len(self.first_stubborn) < FIRST_MAX:
            self.first_stubborn.append((key, problem))


def highest_version(suspects: Suspects, work: UnitOfWork, room: int) -> int:
    """List every document there is; note those that no row has, and tombstones that are none.

    Returns the highest version of all.
    """
    highest, projection = 0, suspects.projection
    for page in work.documents.listed(projection.collection):
        highest = max(highest, *(listed.version for listed in page))
        suspects.documents += sum(not listed.tombstone for listed in page)
        ours = {listed.key for listed in page if listed.ours and not listed.tombstone}
        extra = ours - projection.present(work.session, ours)
        suspects.note(suspects.extra, work.documents.differences(projection.collection, dict.fromkeys(extra)), room)
        for listed in page:
            if not listed.ours:
                suspects.give_up(listed.key, "extra")
    return highest


def compare(suspects: Suspects, work: UnitOfWork, room: int) -> None:
    """Read every row, and note the documents that are missing or not what the row says."""
    projection = suspects.projection
    for page in projection.pages(work.session):
        differing = _still(page, projection, work)
        suspects.note(suspects.rows, differing, room)


def _still(page: Mapping[str, Content], projection: Projection, work: UnitOfWork) -> Iterator[Any]:
    """Look twice: a row may have changed, and its document with it, between the two looks."""
    first = work.documents.differences(projection.collection, page)
    if not first:
        return
    again = projection.contents(work.session, [difference.key for difference in first])
    yield from work.documents.differences(projection.collection, again)
