"""The Celery apps of the comparators, as a competent user sets them up."""

import os

from celery import Celery


def plain_app(name: str) -> Celery:
    """An app with a queue of its name: late acknowledgement, a prefetch of 100 a process, no results."""
    app = Celery(name, broker=os.environ["TRIVET_REDIS_URL"])
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=100,
        task_default_queue=name,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    return app
