"""Python's collector of cycles, kept from going through everything again and again within each batch."""

import gc
from typing import Final

COLLECT_EVERY: Final = 50_000
"""New objects after which it looks at them: about what a batch of 500 jobs makes. Python's default is 700."""


def keep_quiet() -> None:
    """Let it leave alone for good what is there now, all that was imported, and look at whole batches."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 100)
