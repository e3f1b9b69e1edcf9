"""The laws of money: none is made or lost, and each movement is two entries and, between accounts, a receipt."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from uuid import UUID

from worker.errors import Outcome
from worker.operations.demo.books import Books, Document, Entry
from worker.operations.demo.telling import compared, milliseconds, told
from worker.operations.demo.workload import Workload

WITH_RECEIPT = ("accounts.transfer", "accounts.capture")


def balance_drift(books: Books) -> int:
    """The sum, over all accounts, of how far the balance is from the sum of the account's entries."""
    entered: Counter[UUID | None] = Counter()
    for entry in books.entries:
        entered[entry.account_id] += entry.amount
    return sum(abs(account.balance - entered[key]) for key, account in books.accounts.items())


def ledger_sum(books: Books) -> int:
    """The sum, over all currencies, of how far the currency's entries are from zero."""
    sums: Counter[str] = Counter()
    for entry in books.entries:
        sums[entry.currency] += entry.amount
    return sum(map(abs, sums.values()))


def accounts(workload: Workload, books: Books) -> Iterator[str]:
    """Accounts hold what was sent to them, and the ledger tells how it came there."""
    left, found = workload.left, books.accounts
    yield from told("accounts were opened that nobody asked for", found.keys() - left.balances.keys())
    yield from told("accounts are missing", left.balances.keys() - found.keys())
    off = {key for key, account in found.items() if account.balance != left.balances.get(key, account.balance)}
    yield from told("accounts hold another balance than what was sent comes to", off)
    kept = {key for key, account in found.items() if account.held != left.held.get(key, 0)}
    yield from told("accounts keep another amount back than their open holds come to", kept)
    closed = {key for key, account in found.items() if account.closed_at is not None}
    yield from told("accounts are closed, or open, against what was said", closed ^ left.closed)
    yield from _ledger(books)
    yield from _receipts(books)


def _ledger(books: Books) -> Iterator[str]:
    if drift := balance_drift(books):
        yield f"balance_drift is {drift}: balances differ from the sums of their entries"
    if total := ledger_sum(books):
        yield f"ledger_sum is {total}: the entries of a currency do not sum to zero"
    moved: dict[UUID, list[int]] = defaultdict(list)
    for entry in books.entries:
        moved[entry.movement_id].append(entry.amount)
    uneven = {movement for movement, amounts in moved.items() if len(amounts) != 2 or sum(amounts) != 0}
    yield from told("movements of money are not two entries that sum to zero", uneven)
    succeeded = {job.id for job in books.jobs.values() if job.state == Outcome.SUCCEEDED}
    yield from told("movements of money have no job that succeeded", moved.keys() - succeeded)


def _receipts(books: Books) -> Iterator[str]:
    entries: dict[UUID, list[Entry]] = defaultdict(list)
    for entry in books.entries:
        entries[entry.movement_id].append(entry)
    wanted = {
        str(job.id): _receipt(job.data or {}, entries[job.id])
        for job in books.jobs.values()
        if job.task in WITH_RECEIPT and job.state == Outcome.SUCCEEDED
    }
    carried = {"_id", "version", "deleted"}
    found = {
        key: {name: value for name, value in copy.items() if name not in carried}
        for key, copy in books.live("receipts").items()
    }
    yield from compared("receipts", wanted, found)


def _receipt(result: Mapping[str, Any], entries: Collection[Entry]) -> Document:
    """The receipt that belongs to a transfer's entries and result; empty when the entries are not a transfer's."""
    if sorted(entry.amount > 0 for entry in entries) != [False, True]:
        return {}
    source, target = sorted(entries, key=lambda entry: entry.amount)
    return {
        "source": str(source.account_id),
        "target": str(target.account_id),
        "amount": target.amount,
        "currency": target.currency,
        "source_balance": result.get("source_balance"),
        "target_balance": result.get("target_balance"),
        "time": milliseconds(target.entered_at),
    }
