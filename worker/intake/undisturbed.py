"""Steps of a node that nothing interrupts: two that spoke on its connection at once would swap their answers.

Nearly always one thread runs everything. But Celery's handlers of signals run in the middle of whatever the main
process does, and hand back what is in hand. And while the pool of a node that ends finishes its work, another
thread fires the timers, so that the lease is kept.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Final

ENDING: Final = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGINT})

_one_at_a_time = RLock()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the signals that end a worker, and other threads' steps, while the block runs."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        with _one_at_a_time:
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
