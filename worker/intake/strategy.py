"""Celery's strategy for our tasks: with it Celery tells the intake node which pool and clock to use.

Ordinary messages never come here: the node has read and gathered them before kombu or Celery made anything of
them. What comes here asks for something that only Celery's own strategy does.
"""

from collections.abc import Callable
from typing import Any

from celery.worker.strategy import default as celery_strategy


def gather(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """Make the handler of one task's special messages, and let the node serve this consumer."""
    app.serve(consumer)
    handler: Callable[..., Any] = celery_strategy(task, app, consumer)
    return handler
