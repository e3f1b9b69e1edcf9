"""How what is parked looks on a terminal and in JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from worker.operations.cli.telling import plain, pretty_json, span
from worker.operations.parked import Kept, ParkedEffect, ParkedJob

TEXT_MAX = 4_000
"""Characters shown of a message that has no payload; `--raw` writes all of it."""


def listed(jobs: Sequence[ParkedJob], effects: Sequence[ParkedEffect], now: datetime) -> RenderableType:
    """The jobs, and then the effects, each with the reason."""
    parts: list[RenderableType] = []
    if jobs:
        parts.append(_jobs(jobs, now))
    if effects:
        parts += ["\n[bold]effects of jobs that have ended[/]", _effects(effects, now)]
    return Group(*parts) if parts else Text("nothing is parked")


def carried(found: Kept) -> dict[str, Any]:
    """What a parked job carries, for JSON: its payload, or else the beginning of its text."""
    payload = found.payload
    text = found.text[:TEXT_MAX] if payload is None else None
    return {"headers": found.headers, "payload": payload, "text": text, "size": len(found.message.body)}


def shown(found: Kept) -> RenderableType:
    """What a parked job carries: its headers, and its payload or else the beginning of its text."""
    parts: list[RenderableType] = []
    if found.headers:
        parts += ["\n[bold]headers[/]", pretty_json(found.headers)]
    size = f"{len(found.message.body):,} bytes raw"
    if found.payload is not None:
        return Group(*parts, f"\n[bold]payload[/] ({size})", pretty_json(found.payload))
    return Group(*parts, f"\n[bold]message[/] ({size}), which has no payload to show", plain(found.text[:TEXT_MAX]))


def _jobs(jobs: Sequence[ParkedJob], now: datetime) -> Table:
    table = _table("why")
    for job in jobs:
        why = Text(job.code or "", style="red").append_text(Text(" ")).append_text(plain(job.message or ""))
        table.add_row(span(now - job.parked_at), str(job.id), plain(job.task), why)
    return table


def _effects(effects: Sequence[ParkedEffect], now: datetime) -> Table:
    table = _table("lane and error")
    for effect in effects:
        why = Text(effect.lane, style="red").append_text(Text(" ")).append_text(plain(effect.error or ""))
        table.add_row(span(now - effect.parked_at), str(effect.job_id), plain(effect.task), why)
    return table


def _table(why: str) -> Table:
    return Table(
        Column("ago", justify="right", no_wrap=True),
        Column("job", no_wrap=True),
        Column("task", overflow="fold"),
        Column(why, overflow="fold"),
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
