"""Whether everything adds up: the laws, each a few lines over what was planned and what was found."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from worker.errors import Outcome
from worker.operations.demo.books import Books, Document, Entry, UserRow
from worker.operations.demo.workload import Workload

IDEMPOTENCY_CONFLICT = "idempotency_conflict"


def mismatches(workload: Workload, books: Books) -> list[str]:
    """What does not add up, each kind in one line; nothing when all is well."""
    laws = (_jobs(workload, books), _repeats(workload, books), _money(workload, books), _rows(workload, books))
    return [problem for law in (*laws, _documents(books), _events(books)) for problem in law]


def balance_drift(books: Books) -> int:
    """The sum, over all accounts, of how far the balance is from the sum of the account's entries."""
    entered: Counter[UUID | None] = Counter()
    for entry in books.entries:
        entered[entry.account_id] += entry.amount
    return sum(abs(balance - entered[account]) for account, balance in books.balances.items())


def ledger_sum(books: Books) -> int:
    """The sum, over all currencies, of how far the currency's entries are from zero."""
    sums: Counter[str] = Counter()
    for entry in books.entries:
        sums[entry.currency] += entry.amount
    return sum(map(abs, sums.values()))


def _jobs(workload: Workload, books: Books) -> Iterator[str]:
    planned, found = workload.jobs, books.jobs
    yield from _told("accepted jobs are not in the ledger", planned.keys() - found.keys())
    yield from _told("jobs are in the ledger that nobody sent", found.keys() - planned.keys())
    wrong = {
        f"{job_id}: {planned[job_id].message.task} {job.state} {code or ''}"
        for job_id, job in found.items()
        if job_id in planned
        and (job.state, code := (job.data or {}).get("code")) != (planned[job_id].outcome, planned[job_id].code)
    }
    yield from _told("jobs came to another end than they must", wrong)
    yield from _told("jobs are parked", {job.id for job in found.values() if job.state == Outcome.PARKED})


def _repeats(workload: Workload, books: Books) -> Iterator[str]:
    if books.refused != workload.conflicts:
        yield f"{books.refused} messages with another payload were refused, not {workload.conflicts}"
    if books.owed:
        yield f"{books.owed} rows are still owed in trivet.outbox"


def _money(workload: Workload, books: Books) -> Iterator[str]:
    yield from _told("accounts were opened that nobody asked for", books.balances.keys() - workload.balances.keys())
    yield from _told("accounts are missing", workload.balances.keys() - books.balances.keys())
    off = {key for key, value in books.balances.items() if value != workload.balances.get(key, value)}
    yield from _told("accounts hold another balance than what was sent comes to", off)
    if drift := balance_drift(books):
        yield f"balance_drift is {drift}: balances differ from the sums of their entries"
    if total := ledger_sum(books):
        yield f"ledger_sum is {total}: the entries of a currency do not sum to zero"
    moved: dict[UUID, list[int]] = defaultdict(list)
    for entry in books.entries:
        moved[entry.movement_id].append(entry.amount)
    uneven = {movement for movement, amounts in moved.items() if len(amounts) != 2 or sum(amounts) != 0}
    yield from _told("movements of money are not two entries that sum to zero", uneven)
    yield from _told("movements of money have no job that succeeded", moved.keys() - _succeeded(books))


def _rows(workload: Workload, books: Books) -> Iterator[str]:
    created = {
        job_id for job_id, job in workload.jobs.items() if job.message.task == "users.create" and not job.code
    }
    yield from _told("users are missing", created - books.users.keys())
    yield from _told("users exist that nobody may have created", books.users.keys() - created)


def _documents(books: Books) -> Iterator[str]:
    users = {str(user.id): _user_document(user) for user in books.users.values()}
    yield from _compared("users", users, books.user_documents)
    entries: dict[UUID, list[Entry]] = defaultdict(list)
    for entry in books.entries:
        entries[entry.movement_id].append(entry)
    transfers = _succeeded(books, "accounts.transfer")
    receipts = {str(job_id): _receipt(books.jobs[job_id].data or {}, entries[job_id]) for job_id in transfers}
    yield from _compared("receipts", receipts, books.receipts)


def _compared(collection: str, wanted: Mapping[str, Document], found: Mapping[str, Document]) -> Iterator[str]:
    yield from _told(f"documents are missing in {collection}", wanted.keys() - found.keys())
    yield from _told(f"documents in {collection} have no row", found.keys() - wanted.keys())
    both = wanted.keys() & found.keys()
    yield from _told(
        f"documents in {collection} differ from their rows",
        {key for key in both if wanted[key] != _content(found[key])},
    )


def _events(books: Books) -> Iterator[str]:
    own = {
        event["id"]: event for event in books.events if (event["data"] or {}).get("code") != IDEMPOTENCY_CONFLICT
    }
    events = Counter((event["jobid"], event["type"]) for event in own.values())
    wanted = {(str(job.id), f"{job.task}.{job.state}") for job in books.jobs.values()}
    yield from _told("ended jobs have no completion event", {job_id for job_id, _ in wanted - events.keys()})
    yield from _told("events tell of an end that no job came to", {job_id for job_id, _ in events.keys() - wanted})
    yield from _told("jobs have more than one completion event", {of for (of, _), n in events.items() if n > 1})
    if (refused := len(books.event_ids) - len(own)) != books.refused:
        yield f"{refused} events tell of refused messages, not {books.refused}"
    yield from _told("subjects have events out of order", set(_out_of_order(books)))


def _out_of_order(books: Books) -> Iterator[str]:
    seen: set[str] = set()
    last: Counter[str] = Counter()
    for event in books.events:
        if event["id"] in seen:
            continue
        seen.add(event["id"])
        if event["sequence"] <= last[event["subject"]]:
            yield event["subject"]
        last[event["subject"]] = event["sequence"]


def _succeeded(books: Books, task: str = "") -> set[UUID]:
    return {job.id for job in books.jobs.values() if job.state == Outcome.SUCCEEDED and job.task.startswith(task)}


def _user_document(user: UserRow) -> Document:
    row = user._asdict() | {"created_at": _milliseconds(user.created_at)}
    return {name: value for name, value in row.items() if name != "id"}


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
        "time": _milliseconds(target.entered_at),
    }


def _content(document: Document) -> Document | None:
    """A live document without what every document carries; None for a tombstone or one without a version."""
    if document.get("deleted") is not False or not isinstance(document.get("version"), int):
        return None
    return {name: value for name, value in document.items() if name not in {"_id", "version", "deleted"}}


def _milliseconds(moment: datetime) -> datetime:
    # MongoDB keeps no finer time.
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _told(problem: str, cases: Collection[object]) -> Iterator[str]:
    if cases:
        first = min(map(str, cases))
        yield f"{len(cases)} {problem} (one is {first})"
