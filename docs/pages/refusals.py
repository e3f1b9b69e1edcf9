"""With which codes a job may be rejected, as its source says: what its body and its checks raise or call."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, TypeGuard

from pydantic import AfterValidator

from worker.errors import InvalidPayload, NotFound, RateLimited, Rejected
from worker.execution.job import Job


def refusals(job: Job[Any, Any]) -> list[str]:
    """The codes, sorted, without those that every task may meet.

    Followed are functions of the business, and methods of rows: of what `work.get` or such a function returned, of
    parameters, of `self`.
    """
    found = {make().data["code"] for make in job.refuses.values()} | set(_raised(job.body, None, set()))
    found |= {code for check in _checks(job) for code in _raised(check, None, set())}
    if job.limit is not None:
        found.add(RateLimited.code)
    return sorted(str(one) for one in found - {InvalidPayload.code})


def _checks(job: Job[Any, Any]) -> Iterator[Callable[..., Any]]:
    """The functions of the business that check a field of the command."""
    for field in job.command.model_fields.values():
        functions = (check.func for check in field.metadata if isinstance(check, AfterValidator))
        yield from filter(_is_business, functions)


def _raised(function: Callable[..., Any], owner: type | None, seen: set[object]) -> Iterator[str]:
    if function in seen:
        return
    seen.add(function)
    body = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = inspect.getmodule(function).__dict__
    got = dict(_got(body, names))
    yield from map(_not_found, got.values())
    rows = got | dict(_annotated(body, function, names)) | ({"self": owner} if owner is not None else {})
    for node in ast.walk(body):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id="NotFound"), args=[ast.Name(id=row), _])):
                yield _not_found(names[row])
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name))) if _is_rejection(names.get(name)):
                yield names[name].code
            case ast.Call(func=ast.Name(id=name)) if _is_business(names.get(name)):
                yield from _raised(names[name], None, seen)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if name in rows:
                yield from _raised(getattr(rows[name], method), rows[name], seen)


def _got(body: ast.AST, names: dict[str, Any]) -> Iterator[tuple[str, type]]:
    """The variables that hold rows: `source, target = work.get(Account, …), work.get(Account, …)`."""
    for name, value in _assigned(body):
        match value:
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Name(id=row), _]):
                yield name, names[row]


def _annotated(body: ast.AST, function: Callable[..., Any], names: dict[str, Any]) -> Iterator[tuple[str, type]]:
    """The variables that hold rows by their type: parameters, and `held = _open_hold(…)`."""
    for name, kind in inspect.get_annotations(function, eval_str=True).items():
        if _is_row(kind):
            yield name, kind
    for name, value in _assigned(body):
        match value:
            case ast.Call(func=ast.Name(id=called)) if _is_business(names.get(called)):
                kind = inspect.get_annotations(names[called], eval_str=True).get("return")
                if _is_row(kind):
                    yield name, kind


def _assigned(body: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(body):
        if isinstance(node, ast.Assign):
            targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for target, value in zip(targets, values, strict=False):
                if isinstance(target, ast.Name):
                    yield target.id, value


def _is_business(thing: object) -> bool:
    return isinstance(thing, FunctionType) and thing.__module__.startswith("tasks.")


def _is_row(kind: object) -> TypeGuard[type]:
    return hasattr(kind, "__tablename__")


def _is_rejection(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Rejected) and hasattr(thing, "code")


def _not_found(row: type) -> str:
    return NotFound(row, "").code
