"""What the processes of one node share: which shards are to be delivered, and whose turn it is.

Made in the main process and inherited through fork. It holds nothing that outlives a kill: the lock goes with
the process that has it, and a lost mark only means that the next timer finds what is owed.
"""

import fcntl
import mmap
import struct
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from worker.delivery.duty import Duty
from worker.delivery.outbox import SHARDS, Lane

ROTATING_SHARE: Final = 8
"""Shards that each turn looks at beside its own, so that what other nodes left is found under load too."""

STALE_S: Final = 5.0
"""A holder that has not shown itself for so long is frozen; its turn is taken in spite of its lock."""

FRESH_S: Final = 0.5
"""How long it counts that somebody saw that nothing is owed."""

_TIME = struct.Struct("=d")
_BEAT_AT = SHARDS + len(Lane) * _TIME.size
_SHARE_AT = _BEAT_AT + _TIME.size
_NOTHING_AT = _SHARE_AT + 1


class Node:
    """Shared memory of a few bytes and a lock on a file without a name."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NOTHING_AT + _TIME.size)
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the node
        self.sending = Duty()
        """Whose it is to send the jobs that are due."""

    def mark(self, shards: Collection[int]) -> None:
        """Say that these shards owe something. To be said after the commit, and before asking for the turn."""
        for shard in shards:
            self._memory[shard] = 1

    def marked(self) -> bool:
        """Whether any shard is marked."""
        return self._memory.find(b"\1", 0, SHARDS) >= 0

    def take_marked(self) -> set[int]:
        """The marked shards and the rotating share; their marks are gone, so the caller must read them now."""
        taken = {shard for shard in range(SHARDS) if self._memory[shard]}
        for shard in taken:
            self._memory[shard] = 0
        first = self._memory[_SHARE_AT]
        self._memory[_SHARE_AT] = (first + ROTATING_SHARE) % SHARDS
        return taken | set(range(first, first + ROTATING_SHARE))

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Take this node's turn if no other process has it; yields whether it was free.

        POSIX record locks belong to a process and go with it, also when the file was inherited. A process that is
        frozen keeps its lock, so one that has been silent for too long is passed over: the locks on the shards
        keep two turns apart.
        """
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            silent = time.monotonic() - _TIME.unpack_from(self._memory, _BEAT_AT)[0]
            yield silent > STALE_S
            return
        try:
            self.beat()
            yield True
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def beat(self) -> None:
        """Show that the holder of the turn is not frozen."""
        _TIME.pack_into(self._memory, _BEAT_AT, time.monotonic())

    def rest(self, lane: Lane, seconds: float) -> None:
        """Leave a lane alone for a while: its store is away."""
        _TIME.pack_into(self._memory, SHARDS + lane * _TIME.size, time.monotonic() + seconds)

    def resting(self, lane: Lane) -> bool:
        """Whether a lane is left alone. Monotonic time is the same for all processes of a machine."""
        until: float = _TIME.unpack_from(self._memory, SHARDS + lane * _TIME.size)[0]
        return time.monotonic() < until

    def see_nothing_owed(self) -> None:
        """Say that nothing is owed in this moment, by any node."""
        _TIME.pack_into(self._memory, _NOTHING_AT, time.monotonic())

    def nothing_owed(self) -> bool:
        """Whether that was so a moment ago: what has been left behind since is found the next time."""
        seen_at: float = _TIME.unpack_from(self._memory, _NOTHING_AT)[0]
        return time.monotonic() - seen_at < FRESH_S

    def close(self) -> None:
        """Give back the memory and the file."""
        self.sending.close()
        self._lock.close()
        self._memory.close()
