"""Leases: what a node takes out of the queues is filed under its name for as long as it keeps its lease.

A message is in a queue, held by a node, or acknowledged, at every instant: each step is one script. A node that
is gone stops renewing its lease, and any other puts what it held back at the heads of the queues (`sweeping`).
"""

import socket
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import uuid4

from redis import Redis

from worker.intake.keys import Keys
from worker.intake.lease_scripts import CHUNK, RESERVE_MAX, LeaseScripts, chunks, held_tags
from worker.intake.line import Line
from worker.intake.sweeping import Sweeper, Swept


class Leased(NamedTuple):
    """A message in this node's hands; `deaths` is None unless it is a suspect, which runs alone."""

    tag: int
    queue: str
    raw: bytes
    deaths: int | None


@dataclass(frozen=True)
class Reserved:
    """What was taken; `lost`: nothing was, for the node's lease is gone.

    `more`: as many as asked for, or as could be carried, so there may be more, and no wake-up will tell.
    """

    messages: list[Leased] = field(default_factory=list)
    lost: bool = False
    more: bool = False


@dataclass(slots=True)
class _Holding:
    node: str
    suspect: bool
    running: bool = False


class Leases:
    """What one node process holds. Not for several threads; errors of the connection are redis-py's.

    `queues` names the queues to take from, each time anew. All messages go by tag, a number that this process
    never uses twice. Whatever raised an error of the connection may be called again with the same tags.
    """

    def __init__(
        self,
        client: Redis,
        *,
        queues: Callable[[], Sequence[str]],
        lease_s: float,
        prefix: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.line = Line(client, clock)
        self._keys = Keys(prefix)
        self._scripts = LeaseScripts(self.line, self._keys, round(lease_s * 1000))
        self._sweeper = Sweeper(self.line, self._keys, self._scripts, wait_s=lease_s)
        self._queues = queues
        self._lease_ms = round(lease_s * 1000)
        self._identities = [_new_identity()]
        self._holdings: dict[int, _Holding] = {}
        self._settled: set[int] = set()
        self._next_tag = 1
        self._turn = 0
        self._in_doubt = False

    @property
    def node(self) -> str:
        """The present identity: `<host>/<hex>`."""
        return self._identities[-1]

    @property
    def held(self) -> Collection[int]:
        """The tags of all messages in hand, those of earlier identities too."""
        return self._holdings.keys()

    def join(self) -> None:
        """Take the lease; a node that reserves nothing needs none."""
        self.line.call("SET", self._keys.lease(self.node), "1", "PX", self._lease_ms)
        self.line.call("SADD", self._keys.nodes, self.node)

    def renew(self) -> bool:
        """Prolong the lease, also one that ran out when nobody has swept yet; false when it is lost."""
        held = self._scripts.renew(self.node)
        if held is not None and held > sum(holding.node == self.node for holding in self._holdings.values()):
            self._in_doubt = True  # a script whose answer was given up was carried out all the same
        return held is not None

    def reserve(self, limit: int, *, refresh: bool = False) -> Reserved:
        """Take up to `limit` messages (at most 1,000) and be woken by the next one that comes in.

        Every queue gets its share, the urgent first. `refresh` renews the lease even when there is nothing to take.
        """
        if self._in_doubt and (found := self.recover(limit)):
            self.line.woken = True  # the queues have not been looked at
            return Reserved(found)
        limit = min(limit, RESERVE_MAX)
        queues = self._in_turn()
        if limit < 1 or not queues:
            return Reserved()
        # Even if the answer never comes, these tags are used up.
        first, self._next_tag = self._next_tag, self._next_tag + limit
        self._in_doubt = True
        taken = self._scripts.reserve(self.node, queues, limit, first, refresh=refresh)
        self._in_doubt = False
        if taken is None:
            return Reserved(lost=True)
        popped, too_much = taken
        messages = [self._hold(Leased(tag, *rest)) for tag, rest in enumerate(popped, first)]
        return Reserved(messages, more=too_much or len(messages) == limit)

    def recover(self, limit: int | None = None) -> list[Leased]:
        """Messages that are filed under this node and that it does not know: their answer was lost."""
        tags = [tag for tag in held_tags(self.line, self._keys, self.node) if tag not in self._holdings]
        found = [each for part in chunks(tags[:limit]) for each in self._scripts.look_up(self.node, part)]
        self._in_doubt = limit is not None and len(tags) > limit
        return [self._hold(Leased(*each)) for each in found]

    def mark_running(self, tags: Iterable[int], deaths: int | None = None) -> set[int]:
        """Say that messages start: in a batch (None), or alone after so many deaths.

        Returns those that must not start, for they are not this node's any more; they are forgotten here.
        """
        tags = list(tags)
        mark = "-" if deaths is None else str(deaths)
        refused = {tag for tag in tags if tag not in self._holdings}
        for node, part in self._by_node(tags):
            if self._scripts.mark_running(node, mark, part):
                for tag in part:
                    self._holdings[tag].running = True
            else:
                refused.update(part)
                self._forget(part)
        return refused

    def mark_waiting(self, tags: Iterable[int], deaths: int | None = None) -> None:
        """Say that messages have been started and will be again.

        With a number they are suspects, whose process died this often while each ran alone (0: in a batch).
        The number stays until they are acknowledged, whichever node has them.
        """
        for node, part in self._by_node(tags):
            self._scripts.mark_waiting(node, deaths, part)
            for tag in part:
                holding = self._holdings[tag]
                holding.running = False
                holding.suspect |= deaths is not None

    def acknowledge(self, tags: Iterable[int] = ()) -> None:
        """Strike off what is done, and what an earlier call could not; unknown tags are ignored."""
        self._settled.update(tag for tag in tags if tag in self._holdings)
        for node, part in self._by_node(self._settled):
            self._scripts.acknowledge(node, [tag for tag in part if self._holdings[tag].suspect], part)
            self._forget(part)

    def give_back(self, tags: Iterable[int]) -> None:
        """Put messages back at the heads of their queues, in order; they become no suspects by it."""
        self.acknowledge()
        for node, part in reversed(self._by_node(tags)):
            self._scripts.put_back(node, part[::-1], swept=False)
            self._forget(part)

    def leave(self) -> None:
        """Give back all there is, of earlier identities too, and stop being a node."""
        self.acknowledge()
        for node in reversed(self._identities):
            for part in reversed(chunks(held_tags(self.line, self._keys, node))):
                self._scripts.put_back(node, part[::-1], swept=False)
            self.line.call("DEL", self._keys.lease(node))
            self._scripts.forget_node(node)
        self._holdings.clear()

    def forget_unstarted(self) -> list[int]:
        """Forget what is not running, and return its tags; the next `reserve` hands it out again."""
        tags = [tag for tag, holding in self._holdings.items() if not holding.running and tag not in self._settled]
        self._forget(tags)
        self._in_doubt = True
        return tags

    def take_new_identity(self) -> list[int]:
        """After a lease was lost: join as another node, and return what is forgotten, for it was not running.

        What is running goes on, and is acknowledged where it is filed, unless a sweep came first.
        """
        forgotten = self.forget_unstarted()
        self._identities.append(_new_identity())
        self.join()
        return forgotten

    def sweep(self) -> Swept:
        """Put back what dead nodes held, once this connection is one lease old; two commands if all live."""
        return self._sweeper.sweep(spare=self.node)

    def close(self) -> None:
        """Close the connection and leave everything as it is; see `leave`."""
        self.line.close()

    def _in_turn(self) -> list[str]:
        queues = list(self._queues())
        self._turn += 1
        start = self._turn % max(len(queues), 1)
        return queues[start:] + queues[:start]

    def _hold(self, message: Leased) -> Leased:
        self._holdings[message.tag] = _Holding(self.node, message.deaths is not None)
        return message

    def _forget(self, tags: Iterable[int]) -> None:
        for tag in tags:
            self._holdings.pop(tag, None)
            self._settled.discard(tag)

    def _by_node(self, tags: Iterable[int]) -> list[tuple[str, list[int]]]:
        """The known ones of these tags, by the identity that they are filed under, in chunks, the oldest first."""
        nodes = defaultdict[str, list[int]](list)
        for tag in sorted(tags):
            if tag in self._holdings:
                nodes[self._holdings[tag].node].append(tag)
        return [
            (node, filed[at : at + CHUNK]) for node, filed in nodes.items() for at in range(0, len(filed), CHUNK)
        ]


def _new_identity() -> str:
    return f"{socket.gethostname()}/{uuid4().hex}"
