"""`trivet enqueue`: send one job, checked as a worker will check it, and wait for its end when asked to."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from difflib import get_close_matches
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from worker.delivery.events import completion_channels
from worker.envelopes import queue_of
from worker.errors import Outcome, Rejected, StoreUnavailable, TrivetError, WrongSettings
from worker.execution.attempt import Attempt
from worker.execution.enqueueing import Options, check, compose_message
from worker.execution.job import JOBS, Job
from worker.operations.awaiting import Event, wait_for_event
from worker.operations.cli.telling import COLOURS, pretty_json
from worker.operations.logs import configure_logs
from worker.producer import Outgoing, Producer
from worker.settings import Settings, read_settings
from worker.stores.listening import listening
from worker.stores.postgres import open_engine

ENDED_OTHERWISE: Final = 3
"""The exit code for a job that was rejected or parked."""


class NotSent(TrivetError):
    """The job was not sent; the text says why, and what to send instead."""


class NotKnown(TrivetError):
    """The job was sent, but what became of it is not known here."""


def register(app: typer.Typer) -> None:
    """Add the command `enqueue` to `app`."""
    app.command()(enqueue)


def enqueue(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name, like accounts.transfer.")],
    payload: Annotated[str, typer.Argument(metavar="JSON", help="Its payload, one JSON object; - reads stdin.")],
    *,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key has its effect once.")] = None,
    wait: Annotated[float | None, typer.Option(min=0, help="Wait so many seconds for the job's end.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send one job to its queue and print its id; with --wait print its completion event.

    A payload that the task does not take is not sent.

    Exits 0 when the job was sent, and with --wait only when it succeeded.

    Exits 1 when it was not sent or has not ended in time, 3 when it was rejected or parked.

    Example: trivet enqueue users.create '{"name": "Ada", "email": "ada@example.org"}' --key ada --wait 5
    """
    settings = read_settings()
    configure_logs(settings, role="enqueue")
    import worker.app  # noqa: F401, PLC0415 - imports the task modules, which declare the jobs

    attempt = compose(task, _bytes(payload), key)
    if wait is None:
        with closing(Producer(settings)) as producer:
            producer.send([Outgoing(attempt.message)])
        print(_sent(attempt) if as_json else attempt.job_id)
        return
    event = _send_and_wait(settings, attempt, wait)
    if as_json:
        print(orjson.dumps(event).decode())
    else:
        Console().print(_shown(event))
    if not event["type"].endswith(f".{Outcome.SUCCEEDED}"):
        raise typer.Exit(ENDED_OTHERWISE)


def compose(task: str, payload: bytes, key: str | None) -> Attempt:
    """Make the message of a job, and read it as a worker will. Raises `NotSent` for one that is not taken."""
    job = JOBS.get(task)
    if job is None:
        similar = get_close_matches(task, JOBS, n=3) or sorted(JOBS)
        raise NotSent(f"no task is named {task}; there is {', '.join(similar)}")
    message = compose_message(job, _one_object(job, payload), Options(idempotency_key=key))
    try:
        (attempt,) = check(job, [message])
    except Rejected as problem:
        place = f"{problem.field}: " if problem.field else ""
        raise NotSent(f"{task} was not sent: {place}{problem.message}; {_takes(job)}") from problem
    return attempt


def _bytes(payload: str) -> bytes:
    return sys.stdin.buffer.read() if payload == "-" else payload.encode(errors="surrogateescape")


def _one_object(job: Job[Any, Any], payload: bytes) -> bytes:
    try:
        found = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise NotSent(f"{job.name} was not sent: its JSON cannot be read: {error}; {_takes(job)}") from error
    if not isinstance(found, dict):
        raise NotSent(f"{job.name} was not sent: its JSON is not an object in {{}}; {_takes(job)}")
    return payload


def _takes(job: Job[Any, Any]) -> str:
    fields = [name if field.is_required() else f"{name}?" for name, field in job.command.model_fields.items()]
    return f"it takes {', '.join(fields)}" if fields else "it takes {}"


def _sent(attempt: Attempt) -> str:
    sent = {"id": attempt.job_id, "task_id": attempt.message.task_id, "task": attempt.message.task}
    return orjson.dumps(sent | {"queue": queue_of(attempt.message.task)}).decode()


def _send_and_wait(settings: Settings, attempt: Attempt, patience_s: float) -> Event:
    engine = open_engine(settings, application_name="trivet-enqueue")
    channels = completion_channels(attempt.message.task)
    with closing(Producer(settings)) as producer, listening(producer.redis, channels) as live:
        producer.send([Outgoing(attempt.message)])
        try:
            with _knowing(attempt):
                event = wait_for_event(live, engine, attempt, patience_s)
        finally:
            engine.dispose()
    if event is None:
        raise NotKnown(f"no completion event within {patience_s:g} s; look: trivet jobs show {attempt.job_id}")
    return event


@contextmanager
def _knowing(attempt: Attempt) -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, WrongSettings) as error:
        raise NotKnown(
            f"{error}; the job may have been sent: look with `trivet jobs show {attempt.job_id}` before it is"
            " sent again"
        ) from error


def _shown(event: Event) -> Table:
    facts = Table.grid(Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    *_, outcome = event["type"].split(".")
    facts.add_row("event", Text(event["type"], style=f"bold {COLOURS[Outcome(outcome)]}"))
    for name, attribute in (("job", "jobid"), ("subject", "subject"), ("time", "time"), ("sequence", "sequence")):
        if attribute in event:
            facts.add_row(name, Text(str(event[attribute])))
    facts.add_row("data", pretty_json(event["data"]))
    return facts
