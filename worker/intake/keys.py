"""Where the leased transport keeps things in Redis: every key, with the global prefix in front of each."""

import re
from collections.abc import Iterable
from typing import Final

from worker.errors import WrongSettings

PRIORITIES: Final = (0, 3, 6, 9)
"""kombu's steps, the most urgent first; a producer puts a message into the list of its step."""

SEPARATOR: Final = "\x06\x16"
"""kombu's, between a queue's name and a priority above 0."""


class Keys:
    """The keys below one prefix, as kombu's `global_keyprefix` puts it in front of the queues."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes = f"{prefix}trivet:nodes"
        self.suspects = f"{prefix}trivet:suspects"
        self.paused = f"{prefix}trivet:paused"

    def lease(self, node: str) -> str:
        """There as long as the node lives: it expires on Redis' clock."""
        return f"{self.prefix}trivet:lease:{node}"

    def held(self, node: str) -> str:
        """What the node has taken: tag → queue key, line break, raw element."""
        return f"{self.prefix}trivet:held:{node}"

    def running(self, node: str) -> str:
        """What of it is running: tag → `-` in a batch, or alone the number of deaths so far."""
        return f"{self.prefix}trivet:running:{node}"

    @property
    def any_held(self) -> str:
        """A pattern for SCAN that finds what any node holds."""
        return re.sub(r"([\\*?\[\]^])", r"\\\1", self.held("")) + "*"

    def node(self, held: bytes) -> str:
        """The node whose `held` key this is."""
        return held.decode().removeprefix(self.held(""))

    def queues(self, names: Iterable[str]) -> list[str]:
        """The lists of these queues in the order in which they are served: by priority, then as given."""
        names = list(names)
        for name in names:
            check_queue(name)
        return [f"{self.prefix}{name}{_suffix(step)}" for step in PRIORITIES for name in names]

    def split(self, filed: bytes) -> tuple[str, bytes]:
        """A value of a `held` hash → the queue's name and the raw element."""
        key, _, raw = filed.partition(b"\n")
        return key.decode().removeprefix(self.prefix).partition(SEPARATOR)[0], raw


def check_queue(name: object) -> None:
    """Raise `WrongSettings` when this cannot be the name of a queue that a node takes from."""
    if not isinstance(name, str) or not name:
        raise WrongSettings(f"the name of a queue is a text that is not empty, not {name!r:.50}")
    if "\n" in name or SEPARATOR in name:
        raise WrongSettings(f"the name of a queue contains a line break or what separates priorities: {name!r:.50}")


def _suffix(priority: int) -> str:
    return f"{SEPARATOR}{priority}" if priority else ""
