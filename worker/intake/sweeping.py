"""Sweeping: what dead nodes held goes back into the queues."""

from dataclasses import dataclass, field
from typing import Final

from worker.crash_points import crash_point
from worker.intake.keys import Keys
from worker.intake.lease_scripts import LeaseScripts, chunks, held_tags
from worker.intake.line import Line

STRAYS_EVERY: Final = 4
"""In every so-manieth sweep a part of Redis' keys is looked through for nodes that nobody knows."""

SCAN_COUNT: Final = 10_000


@dataclass
class Swept:
    """The nodes whose lease had run out, and how many messages went back to their queues."""

    nodes: list[str] = field(default_factory=list)
    messages: int = 0


class Sweeper:
    """Looks for nodes whose lease ran out; any number of sweepers may do so at once.

    Nothing is swept before the connection is `wait_s` old. When Redis was away, the leases of living nodes ran
    out too: they have this long to renew them. (A connection never outlives the Redis that it was made to.)
    """

    def __init__(self, line: Line, keys: Keys, scripts: LeaseScripts, wait_s: float) -> None:
        self._line = line
        self._keys = keys
        self._scripts = scripts
        self._wait_s = wait_s
        self._sweeps = 0
        self._cursor = b"0"

    def sweep(self, spare: str) -> Swept:
        """Sweep every dead node but the caller itself."""
        swept = Swept()
        self._line.connect()
        if self._line.age_s < self._wait_s:
            return swept
        self._sweeps += 1
        if self._sweeps % STRAYS_EVERY == 0:
            self._find_strays()
        for node in self._lapsed(spare):
            self._sweep_node(node, swept)
        return swept

    def _lapsed(self, spare: str) -> list[str]:
        nodes = [name for each in self._line.call("SMEMBERS", self._keys.nodes) if (name := each.decode()) != spare]
        if not nodes:
            return []
        leases = self._line.call("MGET", *map(self._keys.lease, nodes))
        return [node for node, lease in zip(nodes, leases, strict=True) if lease is None]

    def _sweep_node(self, node: str, swept: Swept) -> None:
        # The newest goes back first, so that the oldest comes to lie at the very head.
        for part in reversed(chunks(held_tags(self._line, self._keys, node))):
            put = self._scripts.put_back(node, part[::-1], swept=True)
            if put is None:  # it renewed its lease
                return
            swept.messages += put
            crash_point("after_put_back")
        # Last: whoever takes over from a sweeper that died half-way finds the node still here.
        if self._scripts.forget_node(node):
            swept.nodes.append(node)

    def _find_strays(self) -> None:
        """Make a node known again that only its held messages tell of: somebody deleted the set."""
        scan = ("SCAN", self._cursor, "MATCH", self._keys.any_held, "COUNT", SCAN_COUNT)
        self._cursor, found = self._line.call(*scan)
        if found:
            self._line.call("SADD", self._keys.nodes, *map(self._keys.node, found))
