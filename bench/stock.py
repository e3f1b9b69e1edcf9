"""The plain comparator on kombu's own Redis transport, set to recover as soon as it can: run by `bench.kills`.

By default kombu gives a dead worker's messages back after an hour, and looks every 100 s. Here it is after
`BENCH_VISIBILITY_S`, and it looks every second. A worker takes no message before it needs it.
"""

import os

from celery import signals

from bench.plain import app

VISIBILITY_S = float(os.environ["BENCH_VISIBILITY_S"])

app.conf.update(
    worker_prefetch_multiplier=1,
    task_reject_on_worker_lost=True,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_S,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": VISIBILITY_S,  # a worker that dies while it looks keeps the others from looking
    },
)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def tell(**_: object) -> None:
    """Say that it takes messages; at the log level of a plain worker nothing would."""
    print("the worker is ready.", flush=True)
