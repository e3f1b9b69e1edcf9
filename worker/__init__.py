"""The names that a job module may use, and those of producers and subscribers.

They are imported when they are first asked for: a process that only wants a setting does not wait for an ORM.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from worker.delivery.effects import Document
    from worker.delivery.events import Event
    from worker.errors import Gap, InvalidPayload, NotFound, Rejected, Unavailable
    from worker.execution.command import Command, MinorUnits, Result
    from worker.execution.crontab import Crontab
    from worker.execution.enqueued import Enqueued, Parked
    from worker.execution.enqueueing import Options
    from worker.execution.job import Job, Through, job
    from worker.execution.schedules import CatchUp, Every, Schedule
    from worker.execution.unit_of_work import UnitOfWork
    from worker.producer import NotEnqueued, QueueFull
    from worker.stores.in_sets import insert_many, update_many
    from worker.stores.limits import RateLimit
    from worker.stores.round_trips import last_round_trip, one_round_trip
    from worker.subscriber import Subscriber

__all__ = [
    "CatchUp",
    "Command",
    "Crontab",
    "Document",
    "Enqueued",
    "Event",
    "Every",
    "Gap",
    "InvalidPayload",
    "Job",
    "MinorUnits",
    "NotEnqueued",
    "NotFound",
    "Options",
    "Parked",
    "QueueFull",
    "RateLimit",
    "Rejected",
    "Result",
    "Schedule",
    "Subscriber",
    "Through",
    "Unavailable",
    "UnitOfWork",
    "insert_many",
    "job",
    "last_round_trip",
    "one_round_trip",
    "update_many",
]

_HOMES: Final = {
    "CatchUp": "execution.schedules",
    "Command": "execution.command",
    "Crontab": "execution.crontab",
    "Document": "delivery.effects",
    "Enqueued": "execution.enqueued",
    "Event": "delivery.events",
    "Every": "execution.schedules",
    "Gap": "errors",
    "InvalidPayload": "errors",
    "MinorUnits": "execution.command",
    "NotEnqueued": "producer",
    "NotFound": "errors",
    "Options": "execution.enqueueing",
    "Parked": "execution.enqueued",
    "QueueFull": "producer",
    "RateLimit": "stores.limits",
    "Rejected": "errors",
    "Result": "execution.command",
    "Schedule": "execution.schedules",
    "Subscriber": "subscriber",
    "Unavailable": "errors",
    "UnitOfWork": "execution.unit_of_work",
    "insert_many": "stores.in_sets",
    "last_round_trip": "stores.round_trips",
    "one_round_trip": "stores.round_trips",
    "update_many": "stores.in_sets",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"worker.{_HOMES.get(name, 'execution.job')}"), name)
