"""The demo's summary slice by slice: jobs by outcome, rows, copies, and whether they add up."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from worker.errors import Outcome
from worker.operations.demo.books import Books
from worker.operations.demo.checking import unsound
from worker.operations.demo.workload import Workload

ORDER: Final = ("users", "posts", "accounts", "documents", "sessions", "notifications", "maintenance")
"""The slices that there are."""


class Slice(NamedTuple):
    """One slice; `copies` are documents in MongoDB, and for sessions what Redis serves."""

    name: str
    succeeded: int
    rejected: int
    parked: int
    rows: int
    copies: int
    ok: bool

    def to_json(self) -> dict[str, Any]:
        """All but the name."""
        return {name: value for name, value in self._asdict().items() if name != "name"}


def slices_of(workload: Workload, books: Books) -> Iterator[Slice]:
    """All slices, whether the workload has jobs of them or not."""
    broken = unsound(workload, books)
    ends = Counter((job.task.partition(".")[0], job.state) for job in books.jobs.values())
    for name in ORDER:
        succeeded, rejected, parked = (
            ends[name, end] for end in (Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.PARKED)
        )
        rows, copies = _kept(name, books)
        yield Slice(name, succeeded, rejected, parked, rows, copies, name not in broken)


def _kept(name: str, books: Books) -> tuple[int, int]:
    """How many rows live, and how many copies of them there are."""
    documents = books.documents
    match name:
        case "users":
            return sum(user.deleted_at is None for user in books.users.values()), documents["users"]
        case "accounts":
            return len(books.accounts), documents["receipts"]
        case "documents":
            return sum(row.body is not None for row in books.bodies.values()), documents["documents"]
        case "sessions":
            return sum(row.revoked_at is None for row in books.sessions.values()), len(books.served)
        case "posts" | "notifications":
            return len(getattr(books, name)), documents[name]
    return 0, documents["reports"] if name == "maintenance" else 0
