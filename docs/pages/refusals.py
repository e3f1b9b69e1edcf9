"""With which codes a job may be rejected, as its source says: what its body raises, and what that calls."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from worker.errors import InvalidPayload, NotFound, Rejected
from worker.execution.job import Job


def refusals(job: Job[Any, Any]) -> list[str]:
    """The codes, sorted, without those that every task may meet.

    Followed are functions of the same module, methods of what `work.get` returned, and methods of `self`.
    """
    found = {make().data["code"] for make in job.refuses.values()} | set(_raised(job.body, None, set()))
    return sorted(str(one) for one in found - {InvalidPayload.code})


def _raised(function: Callable[..., Any], owner: type | None, seen: set[object]) -> Iterator[str]:
    if function in seen:
        return
    seen.add(function)
    body = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = inspect.getmodule(function).__dict__
    rows = dict(_rows(body, names))
    if owner is not None:
        rows["self"] = owner
    yield from (_not_found(row) for name, row in rows.items() if name != "self")
    for node in ast.walk(body):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name))) if _is_rejection(names.get(name)):
                yield names[name].code
            case ast.Call(func=ast.Name(id=name)) if _is_beside(names.get(name), function):
                yield from _raised(names[name], None, seen)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if name in rows:
                yield from _raised(getattr(rows[name], method), rows[name], seen)


def _rows(body: ast.AST, names: dict[str, Any]) -> Iterator[tuple[str, type]]:
    """The variables that hold rows: `source, target = work.get(Account, …), work.get(Account, …)`."""
    for node in ast.walk(body):
        if isinstance(node, ast.Assign):
            targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for target, value in zip(targets, values, strict=False):
                match target, value:
                    case ast.Name(id=name), ast.Call(func=ast.Attribute(attr="get"), args=[ast.Name(id=row), _]):
                        yield name, names[row]


def _is_beside(thing: object, function: Callable[..., Any]) -> bool:
    return isinstance(thing, FunctionType) and thing.__module__ == function.__module__


def _is_rejection(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Rejected)


def _not_found(row: type) -> str:
    return NotFound(row, "").code
