"""Comparing documents with their rows, page by page: what differs is counted, and noted to be looked at again.

First every document is listed, collection by collection, and then every row is read. A run that has done its part
stops behind a page; from that position another one goes on.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from tasks.model.projections import Page, Projection
from worker import UnitOfWork

NOTED_MAX: Final = 10_000
"""Documents that one run notes, looks at again and repairs; it ends with the page that passes it."""

NOTED_BYTES_MAX: Final = 4 * 1024 * 1024
"""What these documents should hold, with their keys; the run ends with the page that passes it."""

FIRST_MAX: Final = 100
"""Differences that are told one by one; all are counted."""

Step = Literal["list", "compare"]


class Position(NamedTuple):
    """How far a pass has come: what it does, in which collection, and the place of what it looked at last."""

    step: Step
    collection: str
    place: bytes | None


START: Final = Position("list", "", None)


@dataclass(slots=True)
class Suspects:
    """Documents of one collection that seem to differ: they are counted when they are looked at again."""

    projection: Projection
    documents: int = 0
    found: Counter[str] = field(default_factory=Counter)
    rows: list[str] = field(default_factory=list)
    """The ids of documents that have a row."""
    extra: list[Any] = field(default_factory=list)
    """The ids of those that have none."""
    stubborn: int = 0
    """Those that no delivery can replace."""
    first_stubborn: list[tuple[Any, str]] = field(default_factory=list)
    """The first of them, each with its problem: there may be any number."""

    def give_up(self, key: Any, problem: str) -> None:
        """Count a document that no delivery can replace, and keep it while few are kept."""
        self.found[problem] += 1
        self.stubborn += 1
        if len(self.first_stubborn) < FIRST_MAX:
            self.first_stubborn.append((key, problem))


@dataclass(slots=True)
class Part:
    """What one run looks at of a pass, until its time is up (`until`, monotonic) or it has noted enough.

    `highest` is the highest version that it has seen. `stopped` is the position behind it; none: it was the last.
    """

    suspects: Sequence[Suspects]
    until: float
    noted: int = 0
    bytes: int = 0
    highest: int = 0
    stopped: Position | None = None

    @property
    def full(self) -> bool:
        """Whether the run should look at no further page: it has looked at one at least."""
        too_many = self.noted >= NOTED_MAX or self.bytes >= NOTED_BYTES_MAX
        return too_many or time.monotonic() >= self.until

    def look(self, start: Position, work: UnitOfWork) -> bool:
        """Go on from `start`. Returns whether versions had to be raised above those that were seen."""
        raised = False
        if start.step == "list":
            self._go(self._listing(start, work))
            raised = work.documents.outrun(self.highest)
            start = START._replace(step="compare")
        if self.stopped is None:
            self._go(self._comparing(start, work))
        return raised

    def _go(self, pages: Iterator[Position]) -> None:
        self.stopped = next((position for position in pages if self.full), None)

    def _listing(self, start: Position, work: UnitOfWork) -> Iterator[Position]:
        """List every document; note those that no row has, and tombstones that are none."""
        for each, place in _from(start, self.suspects):
            for page in work.documents.listed(each.projection.collection, place):
                self._note_listed(each, page, work)
                yield Position("list", each.projection.collection, page[-1].place)

    def _comparing(self, start: Position, work: UnitOfWork) -> Iterator[Position]:
        """Read every row, and note the documents that are missing or not what the row says."""
        for each, place in _from(start, self.suspects):
            for page in each.projection.pages(work.session, place.decode() if place else None):
                self._note(each, each.rows, _still(page, each.projection, work))
                yield Position("compare", each.projection.collection, page.place.encode())

    def _note_listed(self, suspects: Suspects, page: Sequence[Any], work: UnitOfWork) -> None:
        projection = suspects.projection
        self.highest = max(self.highest, *(listed.version for listed in page))
        suspects.documents += sum(not listed.tombstone for listed in page)
        ours = {listed.key for listed in page if listed.ours and not listed.tombstone}
        extra = ours - projection.present(work.session, ours)
        wrong = work.documents.differences(projection.collection, dict.fromkeys(extra))
        self._note(suspects, suspects.extra, wrong)
        for listed in page:
            if not listed.ours:
                suspects.give_up(listed.key, "extra")

    def _note(self, suspects: Suspects, noted: list[Any], differences: Iterable[Any]) -> None:
        for difference in differences:
            if not difference.repairable:
                suspects.give_up(difference.key, difference.problem)
                continue
            noted.append(difference.key)
            self.noted += 1
            self.bytes += difference.size


def _from(start: Position, suspects: Iterable[Suspects]) -> Iterator[tuple[Suspects, bytes | None]]:
    """The collections that are still to be looked at, by name, each with the place to begin behind."""
    for each in sorted(suspects, key=lambda each: each.projection.collection):
        collection = each.projection.collection
        if collection >= start.collection:
            yield each, start.place if collection == start.collection else None


def _still(page: Page, projection: Projection, work: UnitOfWork) -> Iterable[Any]:
    """Look twice: a row may have changed, and its document with it, between the two looks."""
    first = work.documents.differences(projection.collection, page.contents)
    if not first:
        return ()
    again = projection.contents(work.session, [difference.key for difference in first])
    return work.documents.differences(projection.collection, again)
