"""How long to wait before another try: exponential backoff with full jitter.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from collections.abc import Callable
from random import random


def backoff_s(attempt: int, *, first_s: float, cap_s: float, chance: Callable[[], float] = random) -> float:
    """Seconds to wait after this attempt (1 is the first): anything up to `first_s` doubled each time, capped."""
    ceiling = min(cap_s, first_s * 2.0 ** min(attempt - 1, 32))
    return ceiling * chance()
