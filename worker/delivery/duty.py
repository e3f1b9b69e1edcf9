"""What one process of a node does for all of them, as long as it lives."""

import fcntl
import mmap
import struct
import tempfile
import time
from typing import Final

STALE_S: Final = 5.0
"""A process that has not shown itself for so long is frozen, and another one takes its duty."""

_TIME = struct.Struct("=d")


class Duty:
    """A lock on a file without a name, and the time at which its holder last showed itself.

    Made in the main process and inherited through fork. A POSIX record lock belongs to a process and goes with it.
    A holder that was frozen and goes on still has the lock: then whoever took over steps back.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _TIME.size)
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the node

    def mine(self) -> bool:
        """Take the duty, or keep it and show oneself; false while another process does it."""
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            shown_at: float = _TIME.unpack_from(self._memory)[0]
            return time.monotonic() - shown_at > STALE_S
        _TIME.pack_into(self._memory, 0, time.monotonic())
        return True

    def close(self) -> None:
        """Give back the memory and the file."""
        self._lock.close()
        self._memory.close()
