"""Remote control: `inspect active | reserved | scheduled` show gathered jobs too, beside Celery's own requests."""

from collections.abc import Callable, Iterable
from typing import Any

from celery.worker.control import active as celerys_active
from celery.worker.control import inspect_command
from celery.worker.control import reserved as celerys_reserved
from celery.worker.control import scheduled as celerys_scheduled

from worker.envelopes import queue_of
from worker.intake.gathering import Arrival, Gathering


def show_gathered() -> None:
    """Put our commands in the place of Celery's of the same name, in this process."""
    inspect_command(name="active", alias="dump_active")(active)
    inspect_command(name="reserved", alias="dump_reserved")(reserved)
    inspect_command(name="scheduled", alias="dump_schedule")(scheduled)


def active(state: Any, safe: bool = False, **_: Any) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002 - Celery's
    """What is being run."""
    return [*celerys_active(state, safe=safe), *_records(state, Gathering.active)]


def reserved(state: Any, **_: Any) -> list[dict[str, Any]]:
    """What waits for a pool process."""
    return [*celerys_reserved(state), *_records(state, Gathering.reserved)]


def scheduled(state: Any, **_: Any) -> list[dict[str, Any]]:
    """What waits for its time."""
    waiting = _records(state, Gathering.scheduled)
    return [*celerys_scheduled(state), *({"eta": None, "priority": 6, "request": record} for record in waiting)]


def _records(state: Any, part: Callable[[Gathering], Iterable[Arrival]]) -> list[dict[str, Any]]:
    gathering = state.app.intake.gathering if state.app.intake else None
    return [] if gathering is None else [_record(arrival, state.hostname) for arrival in part(gathering)]


def _record(arrival: Arrival, hostname: str) -> dict[str, Any]:
    message = arrival.message
    return {
        "id": message.task_id,
        "name": message.task,
        "type": message.task,
        "args": [],
        "kwargs": {},  # values may be personal: see `trivet jobs show`
        "hostname": hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {
            "exchange": "",
            "routing_key": queue_of(message.task),
            "priority": 0,
            "redelivered": None,
        },
        "worker_pid": None,
    }
