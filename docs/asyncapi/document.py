"""The document as a whole, in an order that does not change: `docs/asyncapi.json`."""

import importlib.util
import inspect
import json
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import tasks
from docs.asyncapi.events import add_events, add_stream
from docs.asyncapi.live import add_live
from docs.asyncapi.parts import Part, Parts
from docs.asyncapi.schemas import Schemas
from docs.asyncapi.tasks import add_task
from docs.asyncapi.wire import runtime_schemas
from docs.blocks import ROOT
from docs.pages.tasks import declared
from worker.envelopes import queue_of
from worker.execution.job import Job

DESCRIPTION: Final = """\
Trivet runs jobs, each once, and publishes an event when one has ended. Tasks are what it receives: Celery messages,
whose `kwargs` are the payload. Events are what it sends: CloudEvents 1.0.

Payloads are closed: a field that is not known is refused. A whole number has no fraction and no exponent. Results
and events are open: a newer worker may say more. Beside its schema, a payload has at most 256 KiB of JSON, no NUL
and no lone surrogate in its texts, and only finite numbers. What a schema cannot say, its task still checks.
"""


def page() -> str:
    """The document about the jobs of the package `tasks`, as text."""
    return json.dumps(document(declared()), indent=1, sort_keys=True, ensure_ascii=False)


def document(jobs: Sequence[Job[Any, Any]]) -> Part:
    """The document about these jobs."""
    parts = Parts(Schemas(runtime_schemas()))
    for job in jobs:
        add_task(parts, job)
        add_events(parts, job)
        add_live(parts, job)
    add_stream(parts)
    return {
        "asyncapi": "3.0.0",
        "info": _info(jobs),
        "defaultContentType": "application/json",
        "servers": {"redis": _SERVER},
        "channels": parts.channels,
        "operations": parts.operations,
        "components": {"messages": parts.messages, "schemas": parts.schemas.components},
    }


def _info(jobs: Iterable[Job[Any, Any]]) -> Part:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    slices = sorted({queue_of(job.name) for job in jobs})
    return {
        "title": "Trivet",
        "version": project["version"],
        "description": DESCRIPTION,
        "license": {"name": project["license"]},
        "tags": [{"name": name} | _said_of(name) for name in slices],
    }


def _said_of(slice_name: str) -> Part:
    """What the slice's module says of itself, if there is one of that name."""
    name = f"{tasks.__name__}.{slice_name}"
    if importlib.util.find_spec(name) is None:
        return {}
    return {"description": inspect.getdoc(importlib.import_module(name)) or ""}


_SERVER: Final[Part] = {
    "host": "{host}",
    "protocol": "redis",
    "description": "The Redis of `TRIVET_REDIS_URL`; with TLS its URL begins with `rediss://`.",
    "variables": {"host": {"description": "Its name and port.", "examples": ["redis.example.org:6379"]}},
}
