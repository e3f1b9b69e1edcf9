"""`tasks.md`: every job that the package `tasks` declares: what it takes, answers and refuses."""

import ast
import importlib
import inspect
import json
import pkgutil
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import AfterValidator
from pydantic.fields import FieldInfo

import tasks
from docs.pages.markdown import code, codes, said, table
from docs.pages.refusals import refusals
from worker import errors
from worker.envelopes import queue_of
from worker.errors import NotFound, RateLimited, Rejected
from worker.execution.job import JOBS, Job
from worker.stores.limits import RateLimit


def page() -> str:
    """The page."""
    general = codes(general_codes())
    return "\n\n".join([
        "# Tasks",
        ("A task's payload is one JSON object. Unknown fields are refused, and so are values of another type: a "
        "number in quotes is no number. Amounts of money are whole numbers of the currency's minor unit (cents)."),
        f"Beside its own codes, every task may be rejected with {general}.",
        *(text for job in declared() for text in _job(job)),
    ])  # fmt: skip


def declared() -> list[Job[Any, Any]]:
    """The jobs of the package `tasks`, by name."""
    for module in pkgutil.iter_modules(tasks.__path__):
        importlib.import_module(f"{tasks.__name__}.{module.name}")
    ours = (job for job in JOBS.values() if job.body.__module__.startswith(f"{tasks.__name__}."))
    return sorted(ours, key=lambda job: job.name)


def general_codes() -> list[str]:
    """The codes of rejections that any task may meet."""
    known = (thing for thing in vars(errors).values() if inspect.isclass(thing) and issubclass(thing, Rejected))
    return sorted(kind.code for kind in known if kind not in {Rejected, NotFound, RateLimited})


def _job(job: Job[Any, Any]) -> list[str]:
    result = inspect.get_annotations(job.body, eval_str=True)["return"]
    facts = [
        ("queue", code(queue_of(job.name))),
        ("subject", code(job.subject) if job.subject else f"{code('jobs/{job_id}')}: the job itself"),
        ("not in its event", codes(job.private) if job.broadcast else "its whole result"),
        ("rejected with", codes(refusals(job))),
        *([("limit", limit(job.limit))] if job.limit else []),
        *[("scheduled", f"{code(one.when)} (UTC)") for one in job.schedules],
        ("code", code(f"{job.body.__module__.replace('.', '/')}.py")),
    ]
    return [
        f"## {job.name}",
        said(job.command),
        f"How: {said(job.body)}",
        table(["", ""], [(name, text or "–") for name, text in facts]),
        "Payload:",
        _fields(job.command),
        "Result:",
        _fields(result),
    ]


def limit(declared: RateLimit) -> str:
    """A rate limit in words."""
    return f"{declared.limit:,} in {declared.window_s:g} s for each {code(declared.key)}"


def _fields(model: Any) -> str:
    schema = model.model_json_schema(mode="validation")
    required = schema.get("required", [])
    known = schema.get("$defs", {})
    rows = [
        (
            code(name),
            ", ".join([kind(field, known), *_checks(model.model_fields[name])]),
            "yes" if name in required else f"no: {_json(field['default'])}",
        )
        for name, field in schema["properties"].items()
    ]
    return table(["field", "type and limits", "required"], rows)


def _checks(field: FieldInfo) -> Iterator[str]:
    """What functions that check a value say when they refuse it; JSON Schema does not know them."""
    functions = [check.func for check in field.metadata if isinstance(check, AfterValidator)]
    for function in functions:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            match node:
                case ast.Raise(exc=ast.Call(args=[ast.Constant(value=str(text))])):
                    yield text


def kind(field: dict[str, Any], known: dict[str, Any]) -> str:
    """A JSON Schema in words."""
    if "$ref" in field:
        inner = known[field["$ref"].rpartition("/")[2]]
        members = (f"{name}: {kind(item, known)}" for name, item in inner["properties"].items())
        return f"object of {'; '.join(members)}"
    if "anyOf" in field:
        return " or ".join(kind(item, known) for item in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {kind(field['items'], known)}"
    return ", ".join([_type(field), *_limits(field)])


def _type(field: dict[str, Any]) -> str:
    formats = {"uuid": "UUID", "date-time": "time, RFC 3339"}
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return formats.get(field.get("format", "")) or names.get(field.get("type", ""), str(field.get("type")))


def _limits(field: dict[str, Any]) -> list[str]:
    words = {
        "minimum": "at least {:,}",
        "maximum": "at most {:,}",
        "minLength": "at least {:,} characters",
        "maxLength": "at most {:,} characters",
        "pattern": "matches `{}`",
    }
    return [text.format(field[name]) for name, text in words.items() if name in field]


def _json(value: object) -> str:
    return code(json.dumps(value))
