"""What the demo came to, counted in the stores: as one JSON object, and as tables for people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from worker.errors import Outcome
from worker.operations.demo.books import Books
from worker.operations.demo.checking import mismatches
from worker.operations.demo.money import balance_drift, ledger_sum
from worker.operations.demo.slices import Slice, slices_of
from worker.operations.demo.workload import Workload

ENDS: Final = (Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.PARKED)


@dataclass(frozen=True)
class Summary:
    """The summary of one demo, which took `seconds` with starting and stopping; no `mismatches`: it adds up."""

    seed: int
    workload: Workload
    books: Books
    seconds: float
    slices: Sequence[Slice]
    mismatches: Sequence[str]

    @classmethod
    def of(cls, seed: int, workload: Workload, books: Books, seconds: float) -> Self:
        """Check the books and sum them up."""
        slices = list(slices_of(workload, books))
        return cls(seed, workload, books, seconds, slices, mismatches(workload, books))

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.mismatches

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        states = Counter(job.state for job in self.books.jobs.values())
        ends = {str(end): states[end] for end in ENDS}
        return {
            "jobs": {"accepted": len(self.workload.jobs), **ends},
            "repeated": self.workload.repeats,
            "conflicts": self.books.refused,
            "rows": self._rows(),
            "documents": self.books.documents.total(),
            "events": len(self.books.event_ids),
            "owed": self.books.owed,
            "balance_drift": balance_drift(self.books),
            "ledger_sum": ledger_sum(self.books),
            "seconds": round(self.seconds, 2),
            "working_seconds": round(self.books.working_s, 2),
            "seed": self.seed,
            "slices": {one.name: one.to_json() for one in self.slices},
            "ok": self.ok,
            "mismatches": list(self.mismatches),
        }

    def to_tables(self) -> RenderableType:
        """As people see it."""
        return Group(self._by_slice(), "", self._findings())

    def _rows(self) -> dict[str, int]:
        books = self.books
        return {
            "users": len(books.users),
            "posts": len(books.posts),
            "accounts": len(books.accounts),
            "ledger_entries": len(books.entries),
            "documents": len(books.bodies),
            "sessions": len(books.sessions),
            "notifications": len(books.notifications),
        }

    def _by_slice(self) -> Table:
        title = f"Trivet demo: {len(self.workload.jobs):,} jobs, seed {self.seed}"
        caption = "copies: documents in MongoDB, and sessions that Redis serves"
        table = Table("slice", title=title, caption=caption, box=box.ROUNDED)
        for name in (*ENDS, "rows", "copies"):
            table.add_column(name, justify="right")
        table.add_column("adds up", justify="center")
        for one in self.slices:
            counts = (one.succeeded, one.rejected, one.parked)
            table.add_row(one.name, *map(_count, (*counts, one.rows, one.copies)), _verdict(ok=one.ok))
        table.add_section()
        sums = [sum(column) for column in zip(*(one[1:6] for one in self.slices), strict=True)]
        table.add_row("all", *map(_count, sums), _verdict(ok=self.ok), style="bold")
        return table

    def _findings(self) -> Table:
        table = Table(show_header=False, box=box.ROUNDED)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, finding in self._found().items():
            table.add_row(name, finding)
        table.add_section()
        verdict = "[bold red]✗ it does not add up[/]" if self.mismatches else "[bold green]✓ everything adds up[/]"
        table.add_row("verdict", verdict)
        return table

    def _found(self) -> dict[str, str]:
        books, told = self.books, self.to_json()
        codes = Counter(
            (job.data or {}).get("code") for job in books.jobs.values() if job.state == Outcome.REJECTED
        )
        kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(books.documents.items()) if count)
        rate = len(books.jobs) / max(books.working_s, 0.001)
        return {
            "rejected for": ", ".join(f"{code} {count:,}" for code, count in codes.most_common()) or "–",
            "sent again": f"{self.workload.repeats:,} repeats, {books.refused:,} refused for another payload",
            "documents": f"{told['documents']:,}: {kinds}",
            "events": f"{told['events']:,}, one for each job that ended and for each refused message",
            "money": (
                f"{len(books.entries):,} ledger entries, balance drift {told['balance_drift']}, "
                f"ledger sum {told['ledger_sum']}"
            ),
            "still owed": f"{books.owed:,}",
            "seconds": f"{books.working_s:.1f} for the jobs ({rate:,.0f} a second), {self.seconds:.1f} in all",
        }


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"


def _verdict(*, ok: bool) -> str:
    return "[green]✓[/]" if ok else "[bold red]✗[/]"
