"""Whether everything adds up: the laws, each a few lines over what was planned and what was found."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from uuid import UUID

from worker.errors import Outcome
from worker.operations.demo import copies, money
from worker.operations.demo.books import Books
from worker.operations.demo.telling import told
from worker.operations.demo.workload import Workload

IDEMPOTENCY_CONFLICT: Final = "idempotency_conflict"

Law = Callable[[Workload, Books], Iterator[str]]


def mismatches(workload: Workload, books: Books) -> list[str]:
    """What does not add up, each kind in one line; nothing when all is well."""
    return [problem for law in LAWS.values() for problem in law(workload, books)]


def unsound(workload: Workload, books: Books) -> set[str]:
    """The slices in which something does not add up: a law of theirs, or the end of one of their jobs."""
    broken = {name for name, law in LAWS.items() if any(law(workload, books))}
    return broken | {_task(workload, books, job_id).partition(".")[0] for job_id in _wrong(workload, books)}


def _task(workload: Workload, books: Books, job_id: UUID) -> str:
    return books.jobs[job_id].task if job_id in books.jobs else workload.jobs[job_id].message.task


def _wrong(workload: Workload, books: Books) -> Mapping[UUID, str]:
    """The jobs that are not there, that nobody sent, or that came to another end than they must: and to which."""
    planned, found = workload.jobs, books.jobs
    wrong = dict.fromkeys(planned.keys() ^ found.keys(), "")
    for job_id in planned.keys() & found.keys():
        end = (found[job_id].state, (found[job_id].data or {}).get("code"))
        if end != (planned[job_id].outcome, planned[job_id].code):
            wrong[job_id] = " ".join(filter(None, end))
    return wrong


def _jobs(workload: Workload, books: Books) -> Iterator[str]:
    planned, found, wrong = workload.jobs, books.jobs, _wrong(workload, books)
    yield from told("accepted jobs are not in the ledger", planned.keys() - found.keys())
    yield from told("jobs are in the ledger that nobody sent", found.keys() - planned.keys())
    ends = {f"{job_id}: {_task(workload, books, job_id)} {end}" for job_id, end in wrong.items() if end}
    yield from told("jobs came to another end than they must", ends)
    yield from told("jobs are parked", {job.id for job in found.values() if job.state == Outcome.PARKED})
    if books.refused != workload.conflicts:
        yield f"{books.refused} messages with another payload were refused, not {workload.conflicts}"
    if books.owed:
        yield f"{books.owed} rows are still owed in trivet.outbox"


def _events(_workload: Workload, books: Books) -> Iterator[str]:
    own = {
        event["id"]: event for event in books.events if (event["data"] or {}).get("code") != IDEMPOTENCY_CONFLICT
    }
    events = Counter((event["jobid"], event["type"]) for event in own.values())
    wanted = {(str(job.id), f"{job.task}.{job.state}") for job in books.jobs.values()}
    yield from told("ended jobs have no completion event", {job_id for job_id, _ in wanted - events.keys()})
    yield from told("events tell of an end that no job came to", {job_id for job_id, _ in events.keys() - wanted})
    yield from told("jobs have more than one completion event", {of for (of, _), n in events.items() if n > 1})
    if (refused := len(books.event_ids) - len(own)) != books.refused:
        yield f"{refused} events tell of refused messages, not {books.refused}"
    yield from told("subjects have events out of order", set(_out_of_order(books)))


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


LAWS: Final[Mapping[str, Law]] = {
    "jobs": _jobs,
    "users": copies.users,
    "posts": copies.posts,
    "accounts": money.accounts,
    "documents": copies.documents,
    "sessions": copies.sessions,
    "notifications": copies.notifications,
    "events": _events,
}
"""What must hold of jobs and events as a whole, and of each slice."""
