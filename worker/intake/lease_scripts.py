"""The steps of the leased transport that Redis carries out at once: one Lua script each, in `scripts/`."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import NoScriptError

from worker.intake.keys import PRIORITIES, Keys
from worker.intake.line import Line

CHUNK: Final = 500
"""How many messages one script handles: a script holds up everybody else."""

RESERVE_MAX: Final = 1_000
"""How many messages can be reserved at once."""

RESERVE_BYTES: Final = 4 * 1024 * 1024
"""Bytes after which no more is reserved at once, but for what 50 messages have."""

Argument = str | bytes | int


class LeaseScripts:
    """The scripts, for the nodes below one prefix. A script that Redis has forgotten is sent again."""

    def __init__(self, line: Line, keys: Keys, lease_ms: int) -> None:
        self._line = line
        self._keys = keys
        self._lease_ms = lease_ms

    def reserve(
        self, node: str, queues: Sequence[str], limit: int, first_tag: int, *, refresh: bool
    ) -> tuple[list[tuple[str, bytes, int | None]], bool] | None:
        """Take up to `limit` messages: queue, raw element and deaths of each, in the order of their tags.

        And whether there may be more, that were too much to carry. None when the node's lease is gone.
        """
        keys = self._keys.queues(queues)
        self._line.watch([*keys, self._keys.paused])
        alive, *taken = self._run(
            "reserve",
            [*keys, self._keys.paused],
            *(self._keys.lease(node), self._keys.held(node), self._keys.suspects, self._keys.prefix),
            *(len(queues), limit, self._lease_ms, first_tag, int(refresh), RESERVE_BYTES),
        )
        names = [*queues] * len(PRIORITIES)
        if not alive:
            return None
        return [(names[at - 1], raw, _count(deaths)) for at, raw, deaths in taken], alive == 2

    def look_up(self, node: str, tags: Sequence[int]) -> list[tuple[int, str, bytes, int | None]]:
        """What is filed under these tags: tag, queue, raw element and deaths of each that is there."""
        filed = self._line.call("HMGET", self._keys.held(node), *tags)
        there = [(tag, *self._keys.split(each)) for tag, each in zip(tags, filed, strict=True) if each is not None]
        if not there:
            return []
        prints = [hashlib.sha1(raw, usedforsecurity=False).hexdigest() for _, _, raw in there]
        deaths = self._line.call("HMGET", self._keys.suspects, *prints)
        return [(*each, _count(died)) for each, died in zip(there, deaths, strict=True)]

    def renew(self, node: str) -> int | None:
        """Prolong the lease; returns how many messages the node holds, or None when the lease is lost."""
        keys = [self._keys.lease(node), self._keys.nodes, self._keys.held(node)]
        held: int = self._run("renew", keys, node, self._lease_ms)
        return None if held < 0 else held

    def mark_running(self, node: str, mark: str, tags: Sequence[int]) -> bool:
        """Mark messages as running; false, and nothing marked, when the lease is lost."""
        keys = [self._keys.lease(node), self._keys.running(node)]
        return bool(self._run("mark_running", keys, self._lease_ms, mark, *tags))

    def mark_waiting(self, node: str, deaths: int | None, tags: Sequence[int]) -> None:
        """Take the mark off; with a number of deaths they become suspects."""
        self._run("mark_waiting", self._own(node), "" if deaths is None else deaths, *tags)

    def acknowledge(self, node: str, suspects: Sequence[int], tags: Sequence[int]) -> None:
        """Strike messages off; those that are `suspects` too lose the mark of it."""
        self._run("acknowledge", self._own(node), len(suspects), *suspects, *tags)

    def put_back(self, node: str, tags: Sequence[int], *, swept: bool) -> int | None:
        """Put messages back at the heads of their queues; returns how many were there.

        `swept`: their node is dead, and those that were running become suspects. None when it lives.
        """
        keys = [*self._own(node), self._keys.lease(node)]
        put: int = self._run("put_back", keys, int(swept), *tags)
        return None if put < 0 else put

    def forget_node(self, node: str) -> bool:
        """Strike a node off; false, and nothing done, when it lives or still holds something."""
        keys = [self._keys.lease(node), self._keys.held(node), self._keys.running(node), self._keys.nodes]
        return bool(self._run("forget_node", keys, node))

    def _own(self, node: str) -> list[str]:
        return [self._keys.held(node), self._keys.running(node), self._keys.suspects]

    def _run(self, name: str, keys: Sequence[str], *arguments: Argument) -> Any:
        source, sha = _script(name)
        given = (len(keys), *keys, *arguments)
        try:
            return self._line.call("EVALSHA", sha, *given)
        except NoScriptError:
            return self._line.call("EVAL", source, *given)


def held_tags(line: Line, keys: Keys, node: str) -> list[int]:
    """The tags of everything that a node holds, the oldest first."""
    return sorted(int(tag) for tag in line.call("HKEYS", keys.held(node)))


def chunks(tags: Sequence[int]) -> list[Sequence[int]]:
    """Parts of at most `CHUNK`, in order."""
    return [tags[start : start + CHUNK] for start in range(0, len(tags), CHUNK)]


def _count(deaths: bytes | None) -> int | None:
    return None if deaths is None else int(deaths)


@cache
def _script(name: str) -> tuple[bytes, str]:
    source = files("worker.intake").joinpath("scripts", f"{name}.lua").read_bytes()
    return source, hashlib.sha1(source, usedforsecurity=False).hexdigest()
