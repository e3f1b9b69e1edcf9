"""`errors.md`: the tree of errors, from the classes."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Final

import worker
from docs.pages.markdown import code, first, table
from docs.pages.tasks import declared
from worker.errors import NotFound, Outcome, Rejected, TrivetError

READS_THE_ENVIRONMENT: Final = "worker.app"
"""The one module that cannot be imported without settings; it declares no error."""


def page() -> str:
    """The page."""
    declared()
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if module.name != READS_THE_ENVIRONMENT:
            importlib.import_module(module.name)
    kinds = list(_below(TrivetError, 0))
    rejections = sorted(_row(_code(kind), kind) for _, kind in kinds if _is_rejection(kind))
    return "\n\n".join([
        "# Errors",
        ("Every error of this package is a `TrivetError`. A job body raises `Rejected` (or a class below it) for "
        "what cannot be, and `Unavailable` for what is away. Everything else that it raises counts as failed code. "
        f"The outcomes are {', '.join(code(outcome) for outcome in Outcome)}; "
        "see [states](../explanation/states.md)."),
        "```text\n" + "\n".join(f"{'    ' * depth}{kind.__name__}" for depth, kind in kinds) + "\n```",
        table(["error", "module", "says"], [_row(kind.__name__, kind) for _, kind in kinds]),
        "## Codes of rejections",
        ("A code is public: it is in the ledger, in the event and in the result. `not_found` codes are made from "
        "the row's class."),
        table(["code", "module", "says"], rejections),
    ])  # fmt: skip


def _below(kind: type[TrivetError], depth: int) -> Iterator[tuple[int, type[TrivetError]]]:
    yield depth, kind
    ours = (child for child in kind.__subclasses__() if child.__module__.startswith(("worker.", "tasks.")))
    for child in sorted(ours, key=lambda child: child.__name__):
        yield from _below(child, depth + 1)


def _is_rejection(kind: type[TrivetError]) -> bool:
    return issubclass(kind, Rejected) and (kind is NotFound or "code" in vars(kind))


def _code(kind: type[TrivetError]) -> str:
    return "<row>_not_found" if kind is NotFound else str(inspect.getattr_static(kind, "code"))


def _row(name: str, kind: type) -> tuple[str, str, str]:
    return code(name), code(kind.__module__), first(kind)
