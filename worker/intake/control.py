"""Remote control: gathered jobs are shown and revoked like Celery's own requests, as far as that can be."""

from collections.abc import Callable, Iterable
from typing import Any

from celery.utils.functional import maybe_list
from celery.worker.control import active as celerys_active
from celery.worker.control import control_command, inspect_command, nok
from celery.worker.control import reserved as celerys_reserved
from celery.worker.control import revoke as celerys_revoke
from celery.worker.control import scheduled as celerys_scheduled

from worker.intake.arrivals import Arrival
from worker.intake.gathering import Gathering


def show_gathered() -> None:
    """Put our commands in the place of Celery's of the same name, in this process."""
    inspect_command(name="active", alias="dump_active")(active)
    inspect_command(name="reserved", alias="dump_reserved")(reserved)
    inspect_command(name="scheduled", alias="dump_schedule")(scheduled)
    control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")(revoke)
    control_command(
        name="terminate",
        variadic="task_id",
        args=[("signal", str)],
        signature="<signal> [id1 [id2 [... [idN]]]]",
    )(terminate)


def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **options: Any) -> Any:  # noqa: FBT001, FBT002 - Celery's
    """Take tasks back: what has not started is rejected; `terminate` kills none that runs in a batch."""
    told = celerys_revoke(state, task_id, terminate=terminate, signal=signal, **options)
    batched = sorted(
        set(maybe_list(task_id) or ()) & {record["id"] for record in _records(state, Gathering.active)}
    )
    if not (terminate and batched):
        return told
    return nok(
        f"not terminated, for they run in batches with others: {', '.join(batched)}; they are revoked, should they"
        " run again"
    )


def terminate(state: Any, signal: Any, task_id: Any, **_: Any) -> Any:
    """Take tasks back, and kill the processes of those that run alone."""
    return revoke(state, task_id, terminate=True, signal=signal)


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
            "routing_key": arrival.queue,
            "priority": 0,
            "redelivered": None,
        },
        "worker_pid": None,
    }
