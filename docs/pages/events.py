"""`events.md`: completion events, from the jobs and from an event that is made here."""

import inspect
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from docs.pages.markdown import code, codes, table
from docs.pages.refusals import refusals
from docs.pages.tasks import declared, general_codes
from worker import execution, intake
from worker.delivery import events
from worker.errors import Outcome
from worker.execution.job import Job

JOB = UUID("0197a5c4-0d7e-7b1c-9c1e-2f6a4b8d3e10")
ACCOUNT = "0197a5c4-0d7e-7b1c-9c1e-2f6a4b8d3e11"


def page() -> str:
    """The page."""
    ends = [outcome for outcome in Outcome if outcome.ended]
    return "\n\n".join([
        "# Events",
        (f"A job that ends causes one completion event. Its type is `<task>.<outcome>`, with one of {codes(ends)}. "
        "It is a CloudEvent 1.0 in JSON."),
        f"```json\n{_example()}\n```",
        (f"- **Live**: `PUBLISH {events.CHANNEL}<type>`; subscribe with "
        f"`SUBSCRIBE {events.CHANNEL}accounts.transfer.succeeded` or `PSUBSCRIBE {events.CHANNEL}*`."),
        (f"- **Durable**: the same JSON under the field `event` of the Redis stream `{events.STREAM}`, which is "
        "trimmed to about `TRIVET_EVENTS_MAXLEN` entries. Read it with "
        "[`Subscriber`](../how-to/follow-events.md), or with `XREAD`. An entry that Redis had lost has a second "
        "field, `again`."),
        table(["attribute", "what"], _attributes()),
        ("An event goes out after its job has committed and its documents are written: at least once, always with "
        "the same `id`. Drop an `id` that you have seen. Within one subject the first appearances are in order."),
        "## Types and data",
        table(["type", "subject", "data"], [row for job in declared() for row in _types(job)]),
        (f"General codes, for every task: {codes(general_codes())}. "
        f"Codes of a parked job: {codes(parked_codes())}."),
    ])  # fmt: skip


def parked_codes() -> list[str]:
    """The codes with which a job may be parked, as the source says them."""
    folders = (Path(execution.__file__).parent, Path(intake.__file__).parent)
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.py")]
    given = re.compile(r'(?:Ending\.parked\(\s*|\b(?:why|give_up) = \()"(\w+)"')
    return sorted({name for source in sources for name in given.findall(source)})


def _example() -> str:
    event = events.completion_event(
        kind="accounts.deposit.succeeded",
        subject=f"accounts/{ACCOUNT}",
        time=datetime(2030, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC),
        data={"account": ACCOUNT, "balance": 1500},
        job_id=JOB,
        task_id=str(JOB),
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    return json.dumps(json.loads(events.with_sequence(event, 42)), indent=2)


def _attributes() -> list[tuple[str, str]]:
    meanings = {
        "specversion": "always `1.0`",
        "id": "made from the job's id, the type and the number of replays: the same each time it is published",
        "source": f"always `{events.SOURCE}`",
        "type": "`<task>.<outcome>`",
        "subject": "the row that the job locked, or `jobs/<job id>`; always the latter for what did not succeed",
        "time": "of the job's transaction, on PostgreSQL's clock, in UTC",
        "datacontenttype": "always `application/json`",
        "jobid": "the job's id: the ledger's key",
        "taskid": "the id of the Celery message",
        "data": "the result without its private fields, or `{code, message}` and `field` where there is one",
        "traceparent": "of the producer; only there when it was given",
        "sequence": "a whole number that rises within a subject",
    }
    return [(code(name), meanings[name]) for name in json.loads(_example())]


def _types(job: Job[Any, Any]) -> list[tuple[str, str, str]]:
    result = inspect.get_annotations(job.body, eval_str=True)["return"]
    names = list(result.model_fields) if job.broadcast else []
    private = f" without {codes(job.private)}" if job.private else ""
    own = codes(refusals(job)) or "none of its own"
    its = "`jobs/{job_id}`"
    return [
        (code(f"{job.name}.succeeded"), code(job.subject or "jobs/{job_id}"), f"{codes(names) or '–'}{private}"),
        (code(f"{job.name}.rejected"), its, f"`code`, `message`, `field`?; codes: {own}"),
        (code(f"{job.name}.parked"), its, "`code`, `message`"),
    ]
