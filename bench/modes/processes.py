"""What processes cost: CPU time and memory of one and of all below it, as Linux counts them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


def family(parent: int) -> Iterator[int]:
    """A process and all below it."""
    yield parent
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            yield from family(int(child))


def cpu_s(parent: int) -> float:
    """CPU seconds that they have used so far; those that have ended are in the count of their parent."""
    return sum(_ticks(pid) for pid in family(parent)) / TICKS_A_SECOND


def memory_bytes(parent: int) -> int:
    """Resident memory (PSS): a page that several share is counted once, in parts."""
    return sum(_pss_kib(pid) for pid in family(parent)) * 1024


def _ticks(pid: int) -> int:
    # Fields 14 to 17 of proc(5): user and system time, its own and that of the children that it has waited for.
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15])
    return 0


def _pss_kib(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 0
