"""Remote control: gathered jobs are shown and revoked like Celery's own requests, as far as that can be.

What would have no effect on them is refused, and no answer holds a password.
"""

from collections.abc import Callable, Iterable
from typing import Any

from celery.utils.functional import maybe_list
from celery.utils.serialization import strtobool
from celery.worker.control import active as celerys_active
from celery.worker.control import conf as celerys_conf
from celery.worker.control import control_command, inspect_command, nok, ok
from celery.worker.control import pool_shrink as celerys_pool_shrink
from celery.worker.control import rate_limit as celerys_rate_limit
from celery.worker.control import report as celerys_report
from celery.worker.control import reserved as celerys_reserved
from celery.worker.control import revoke as celerys_revoke
from celery.worker.control import scheduled as celerys_scheduled
from celery.worker.control import stats as celerys_stats
from celery.worker.control import time_limit as celerys_time_limit

from worker.errors import WrongSettings
from worker.execution.job import JOBS
from worker.intake.arrivals import Arrival
from worker.intake.gathering import Gathering
from worker.intake.keys import check_queue
from worker.intake.task_events import HIDDEN, NO_ARGS
from worker.redaction import redact


def show_gathered() -> None:
    """Put our commands in the place of Celery's of the same name, in this process."""
    inspect_command(name="active", alias="dump_active")(active)
    inspect_command(name="reserved", alias="dump_reserved")(reserved)
    inspect_command(name="scheduled", alias="dump_schedule")(scheduled)
    inspect_command(name="conf", alias="dump_conf", args=[("with_defaults", strtobool)])(conf)
    inspect_command(name="stats")(stats)
    inspect_command(name="report")(report)
    control_command(name="pool_shrink", args=[("n", int)], signature="[N=1]")(pool_shrink)
    control_command(
        name="add_consumer",
        args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
        signature="<queue> [exchange [type [routing_key]]]",
    )(add_consumer)
    control_command(name="cancel_consumer", args=[("queue", str)], signature="<queue>")(cancel_consumer)
    control_command(
        name="rate_limit",
        args=[("task_name", str), ("rate_limit", str)],
        signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
    )(rate_limit)
    control_command(
        name="time_limit",
        args=[("task_name", str), ("soft", float), ("hard", float)],
        signature="<task_name> <soft_secs> [hard_secs]",
    )(time_limit)
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


def add_consumer(state: Any, queue: Any, *exchange: Any, **options: Any) -> Any:
    """Take from one more queue, at once: Celery would do it after the answer, where an error ends the node."""
    try:
        check_queue(queue)
    except WrongSettings as error:
        return nok(f"not added: {error}")
    served = state.consumer.task_consumer.consuming_from(queue)
    try:
        state.consumer.add_task_queue(queue, *exchange, **options)
    except Exception as error:  # noqa: BLE001 - whatever the caller gave, which only kombu can judge
        if not served:
            state.consumer.cancel_task_queue(queue)
        return nok(f"not added: {type(error).__name__}: {error}")
    return ok(f"add consumer {queue}")


def cancel_consumer(state: Any, queue: Any, **_: Any) -> Any:
    """Take no more from a queue."""
    if not isinstance(queue, str):
        return nok(f"not cancelled: the name of a queue is a text, not {queue!r:.50}")
    state.consumer.cancel_task_queue(queue)
    return ok(f"no longer consuming from {queue}")


def rate_limit(state: Any, task_name: str, rate_limit: Any, **_: Any) -> Any:
    """Refused for a job: Celery would say that it is set, and it would limit nothing."""
    if task_name in JOBS:
        return nok("not set: jobs run in batches, without Celery's rate limits; declare @job(limit=RateLimit(...))")
    return celerys_rate_limit(state, task_name, rate_limit)


def time_limit(state: Any, task_name: Any = None, hard: Any = None, soft: Any = None, **_: Any) -> Any:
    """Refused for a job, as a rate limit is."""
    if task_name in JOBS:
        limit_s = state.app.settings.batch_limit_s
        return nok(f"not set: a batch as a whole may take {limit_s:g} s, eight times TRIVET_LEASE_S")
    return celerys_time_limit(state, task_name, hard=hard, soft=soft)


def pool_shrink(state: Any, n: int = 1, **_: Any) -> Any:
    """Shrink the pool, down to one process: with none, a node would take jobs and run nothing."""
    left = state.consumer.pool.num_processes - n
    if left < 1:
        return nok(f"not shrunk: the pool has {left + n} processes, and one must stay")
    return celerys_pool_shrink(state, n)


def conf(state: Any, with_defaults: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002 - Celery's
    """The settings, without the password of any URL: Celery hides those of the settings that it knows."""
    return _without_passwords(celerys_conf(state, with_defaults=with_defaults))


def stats(state: Any, **_: Any) -> Any:
    """What the worker counts, without the password of any URL: other brokers are told in full by Celery."""
    return _without_passwords(celerys_stats(state))


def report(state: Any, **_: Any) -> Any:
    """What Celery writes for bug reports, likewise."""
    return _without_passwords(celerys_report(state))


def active(state: Any, safe: bool = False, **_: Any) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002 - Celery's
    """What is being run."""
    records = _records(state, Gathering.active)
    pids = state.app.intake.gathering.pids() if records else {}
    return [
        *celerys_active(state, safe=safe),
        *(record | {"worker_pid": pids.get(record["id"])} for record in records),
    ]


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
        "args": NO_ARGS,
        "kwargs": HIDDEN,  # values may be personal
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


def _without_passwords(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_passwords(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_passwords(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value
