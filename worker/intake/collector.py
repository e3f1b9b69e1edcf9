"""Python's collector of cycles, kept from going through everything again and again within each batch."""

import gc
from typing import Final

COLLECT_EVERY: Final = 50_000
"""New objects after which it looks at them: about what a batch of 500 jobs makes. Python's default is 700."""


def keep_quiet() -> None:
    """Let it leave alone for good what is there now, all that was imported, and look at whole batches.

    What outlives two such looks waits for a full collection, which comes with every hundredth: cycles that live
    longer than a batch are rare. The benchmark's `growth` measures what memory it comes to.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 10)
