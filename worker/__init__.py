"""The names that a job module may use.

They are imported when they are first asked for: a process that only wants a setting does not wait for an ORM.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from worker.delivery.effects import Document
    from worker.errors import InvalidPayload, NotFound, Rejected, Unavailable
    from worker.execution.command import Command, MinorUnits, Result
    from worker.execution.job import Job, job
    from worker.execution.unit_of_work import UnitOfWork

__all__ = [
    "Command",
    "Document",
    "InvalidPayload",
    "Job",
    "MinorUnits",
    "NotFound",
    "Rejected",
    "Result",
    "Unavailable",
    "UnitOfWork",
    "job",
]

_HOMES: Final = {
    "Command": "execution.command",
    "Document": "delivery.effects",
    "InvalidPayload": "errors",
    "MinorUnits": "execution.command",
    "NotFound": "errors",
    "Rejected": "errors",
    "Result": "execution.command",
    "Unavailable": "errors",
    "UnitOfWork": "execution.unit_of_work",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"worker.{_HOMES.get(name, 'execution.job')}"), name)
