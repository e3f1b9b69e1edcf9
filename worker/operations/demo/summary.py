"""What the demo came to, counted in the stores: as one JSON object, and as tables for people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.table import Table

from worker.errors import Outcome
from worker.operations.demo.books import Books
from worker.operations.demo.checking import balance_drift, ledger_sum, mismatches
from worker.operations.demo.workload import Workload


@dataclass(frozen=True)
class Summary:
    """The summary of one demo, which took `seconds` with starting and stopping; no `mismatches`: it adds up."""

    seed: int
    workload: Workload
    books: Books
    seconds: float
    mismatches: Sequence[str]

    @classmethod
    def of(cls, seed: int, workload: Workload, books: Books, seconds: float) -> Self:
        """Check the books and sum them up."""
        return cls(seed, workload, books, seconds, mismatches(workload, books))

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.mismatches

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        states = Counter(job.state for job in self.books.jobs.values())
        ends = {str(end): states[end] for end in (Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.PARKED)}
        return {
            "jobs": {"accepted": len(self.workload.jobs), **ends},
            "repeated": self.workload.repeats,
            "conflicts": self.books.refused,
            "rows": self._rows(),
            "documents": self.books.documents,
            "events": len(self.books.event_ids),
            "owed": self.books.owed,
            "balance_drift": balance_drift(self.books),
            "ledger_sum": ledger_sum(self.books),
            "seconds": round(self.seconds, 2),
            "working_seconds": round(self.books.working_s, 2),
            "seed": self.seed,
            "ok": self.ok,
            "mismatches": list(self.mismatches),
        }

    def to_tables(self) -> RenderableType:
        """As people see it."""
        return Group(self._outcomes(), "", self._findings())

    def _rows(self) -> dict[str, int]:
        books = self.books
        return {"users": len(books.users), "accounts": len(books.balances), "ledger_entries": len(books.entries)}

    def _outcomes(self) -> Table:
        jobs = self.books.jobs.values()
        table = Table("jobs", title=f"Trivet demo: {len(self.workload.jobs):,} jobs, seed {self.seed}")
        for end in (Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.PARKED):
            table.add_column(end, justify="right")
        table.add_column("rejected because of", overflow="fold")
        for task in sorted({job.task for job in jobs}):
            self._add(table, task, task)
        table.add_section()
        self._add(table, "all", "", style="bold")
        return table

    def _add(self, table: Table, name: str, task: str, style: str = "") -> None:
        jobs = [job for job in self.books.jobs.values() if job.task.startswith(task)]
        states = Counter(job.state for job in jobs)
        codes = Counter((job.data or {}).get("code") for job in jobs if job.state == Outcome.REJECTED)
        reasons = ", ".join(f"{code} {count:,}" for code, count in codes.most_common()) if task else ""
        counts = (states[end] for end in (Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.PARKED))
        table.add_row(name, *(f"{count:,}" if count else "–" for count in counts), reasons, style=style)

    def _findings(self) -> Table:
        table = Table(show_header=False)
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
        rows = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self._rows().items())
        kinds = f"{len(books.user_documents):,} users, {len(books.receipts):,} receipts"
        rate = len(books.jobs) / max(books.working_s, 0.001)
        return {
            "sent again": f"{self.workload.repeats:,} repeats, {books.refused:,} refused for another payload",
            "rows": rows,
            "documents": f"{books.documents:,} ({kinds})",
            "events": f"{told['events']:,}, one for each job that ended and for each refused message",
            "money": f"balance drift {told['balance_drift']}, ledger sum {told['ledger_sum']}",
            "still owed": f"{books.owed:,}",
            "seconds": f"{books.working_s:.1f} for the jobs ({rate:,.0f} a second), {self.seconds:.1f} in all",
        }
