"""The names that a job module may use."""

from worker.delivery.effects import Document
from worker.errors import InvalidPayload, NotFound, Rejected, Unavailable
from worker.execution.job import Command, Job, MinorUnits, Result, job
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
