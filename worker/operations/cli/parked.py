"""`trivet parked`: what was given up, and an operator's word on it: once more, or never again."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from sqlalchemy import Engine

from worker.errors import TrivetError
from worker.operations.cli.ledger import AsJson, JobName, open_ledger, the_one
from worker.operations.cli.parked_shown import carried, listed, shown
from worker.operations.cli.telling import as_json as json_of
from worker.operations.cli.telling import in_full
from worker.operations.parked import kept, parked_effects, parked_ids, parked_jobs
from worker.operations.replaying import Settled, drop, replay

Task = Annotated[str | None, typer.Option(help="Those of this task; * and ? stand for others.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Job ids, task ids of messages, or keys.")]
All = Annotated[bool, typer.Option("--all", help="Everything that is parked.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before --all and --task.")]


class NotParked(TrivetError):
    """The job is not parked, and nothing of what it owes is."""


class NotDone(TrivetError):
    """The order was not understood, or not obeyed by all."""


def register(app: typer.Typer) -> None:
    """Add the commands `parked ls | show | replay | drop` to `app`."""
    parked = typer.Typer(
        help="Jobs and effects that were given up: look, replay, drop.\n\nExample: trivet parked ls",
        no_args_is_help=True,
    )
    parked.command()(ls)
    parked.command()(show)
    parked.command("replay")(replay_parked)
    parked.command("drop")(drop_parked)
    app.add_typer(parked, name="parked")


def ls(
    *,
    task: Task = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of each at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what is parked, newest first: jobs, and effects of jobs that have ended, each with the reason.

    Example: trivet parked ls --task "accounts.*"
    """
    with open_ledger("parked") as engine:
        jobs = parked_jobs(engine, task or "*", limit)
        effects = parked_effects(engine, task or "*", limit)
    if as_json:
        print(json_of({"jobs": jobs, "effects": effects}))
    else:
        Console().print(listed(jobs, effects, datetime.now(UTC)))


def show(
    name: JobName,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write the raw message to stdout, byte by byte.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a parked job: why, its errors, its headers and its payload; or a job with a parked effect.

    Passwords in URLs and the like are hidden, except with --raw.

    Example: trivet parked show order-42
    """
    with open_ledger("parked") as engine:
        story = the_one(engine, name)
        found = kept(engine, story.id)
    if found is None and (raw or not any(owed.parked_at for owed in story.owes)):
        state = "dropped" if story.dropped_at else story.state
        raise NotParked(f"job {story.id} is not parked, it is {state}: see `trivet jobs show {story.id}`")
    if raw and found is not None:
        sys.stdout.buffer.write(found.message.body)
    elif as_json:
        print(json_of(asdict(story) | (carried(found) if found else {})))
    else:
        Console().print(in_full(story, datetime.now(UTC)), *([shown(found)] if found else []))


def replay_parked(names: Names = None, *, every: All = False, task: Task = None, yes: Yes = False) -> None:
    """Run parked jobs again under the same ids, from the beginning; owe parked effects again.

    A job has 24 hours and all of its attempts anew. It may end in any way, also parked again.

    Exits 1 when one of them cannot be replayed.

    Example: trivet parked replay --task "accounts.*" --yes
    """
    import worker.app  # noqa: F401, PLC0415 - imports the task modules, which declare the jobs

    with open_ledger("parked") as engine:
        ids = _meant(engine, names or [], _glob(every=every, task=task))
        _ask("replay", ids, sure=yes or bool(names))
        _tell("replayed", replay(engine, ids))


def drop_parked(names: Names = None, *, every: All = False, task: Task = None, yes: Yes = False) -> None:
    """Give parked jobs up for good, and forget parked effects. Raw messages and headers are gone then.

    The ids stay taken: a late duplicate of a dropped job has no effect.

    Exits 1 when one of them is not parked.

    Example: trivet parked drop order-42
    """
    with open_ledger("parked") as engine:
        ids = _meant(engine, names or [], _glob(every=every, task=task))
        _ask("drop", ids, sure=yes or bool(names))
        _tell("dropped", drop(engine, ids))


def _glob(*, every: bool, task: str | None) -> str | None:
    if every and task is not None:
        raise NotDone("--all and --task exclude each other")
    return "*" if every else task


def _meant(engine: Engine, names: Sequence[str], glob: str | None) -> Sequence[UUID]:
    if bool(names) == (glob is not None):
        raise NotDone("name the jobs, or say --task GLOB or --all")
    return [the_one(engine, name).id for name in names] if glob is None else parked_ids(engine, glob)


def _ask(verb: str, ids: Sequence[UUID], *, sure: bool) -> None:
    if ids and not sure:
        typer.confirm(f"{verb} what is parked of {_counted(len(ids), 'job')}?", abort=True, err=True)


def _tell(past: str, settled: Settled) -> None:
    if settled.jobs or settled.effects or not settled.refused:
        print(past, _counted(settled.jobs, "job"), "and", _counted(settled.effects, "effect"))
    if settled.refused:
        raise NotDone(f"not {past}: {'; '.join(_reasons(settled))}")


def _reasons(settled: Settled) -> list[str]:
    """Each reason once, with the job, or one of the jobs, that it holds for."""
    first = {why: job_id for job_id, why in reversed(settled.refused.items())}
    return [
        f"{_counted(count, 'job') + ' like ' if count > 1 else 'job '}{first[why]}: {why}"
        for why, count in Counter(settled.refused.values()).items()
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
