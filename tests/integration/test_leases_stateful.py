"""Leases under any sequence of events: no message ever vanishes, and each is acknowledged in the end."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.fixtures.amounts import TIMES
from tests.fixtures.leases import Nodes, open_nodes
from worker.intake.leases import Leased, Leases
from worker.intake.queues import Queues
from worker.operations.embedded import Urls

QUEUES = ("q", "other")
NODES = 3


@pytest.fixture
def nodes(servers: Urls) -> Iterator[Nodes]:
    with open_nodes(servers) as opened:
        yield opened


class Work(RuleBasedStateMachine):
    """Three nodes, each of which may die at any time and be replaced, on two queues.

    `pushed` is every message there ever was, and `done` what was acknowledged, most of it once.
    """

    nodes: Nodes

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.nodes.redis.flushall()
        self.pushed: set[str] = set()
        self.done: Counter[str] = Counter()
        self.living = [self.nodes.node(*QUEUES) for _ in range(NODES)]
        self.hands: dict[Leases, dict[int, Leased]] = {node: {} for node in self.living}

    @rule(queue=st.sampled_from(QUEUES), priority=st.sampled_from((0, 9)), count=st.integers(1, 5))
    def push(self, queue: str, priority: int, count: int) -> None:
        new = [f"{len(self.pushed) + number}" for number in range(count)]
        self.pushed.update(new)
        self.nodes.push(*new, queue=queue, priority=priority)

    @rule(at=st.integers(0, NODES - 1), limit=st.integers(1, 6))
    def reserve(self, at: int, limit: int) -> None:
        node = self.living[at]
        reserved = node.reserve(limit)
        assert len(reserved.messages) <= limit
        assert not (reserved.lost and reserved.messages)
        self.hands[node] |= {message.tag: message for message in reserved.messages}

    @rule(at=st.integers(0, NODES - 1), alone=st.booleans())
    def run(self, *, at: int, alone: bool) -> None:
        node = self.living[at]
        for tag in node.mark_running(self._some(node), 1 if alone else None):
            self.hands[node].pop(tag, None)

    @rule(at=st.integers(0, NODES - 1), died=st.booleans())
    def wait_again(self, *, at: int, died: bool) -> None:
        node = self.living[at]
        node.mark_waiting(self._some(node), 2 if died else None)

    @rule(at=st.integers(0, NODES - 1))
    def acknowledge(self, at: int) -> None:
        node = self.living[at]
        self._acknowledge(node, self._some(node))

    @rule(at=st.integers(0, NODES - 1))
    def give_back(self, at: int) -> None:
        node = self.living[at]
        tags = self._some(node)
        node.give_back(tags)
        for tag in tags:
            del self.hands[node][tag]

    @rule(at=st.integers(0, NODES - 1))
    def lose_connection(self, at: int) -> None:
        self.living[at].close()

    @rule(at=st.integers(0, NODES - 1))
    def forget_unstarted(self, at: int) -> None:
        node = self.living[at]
        for tag in node.forget_unstarted():
            del self.hands[node][tag]

    @rule(at=st.integers(0, NODES - 1))
    def lapse(self, at: int) -> None:
        self.nodes.lapse(self.living[at])

    @rule(at=st.integers(0, NODES - 1))
    def renew(self, at: int) -> None:
        node = self.living[at]
        if not node.renew():
            for tag in node.take_new_identity():
                del self.hands[node][tag]

    @rule(at=st.integers(0, NODES - 1))
    def sweep(self, at: int) -> None:
        self.living[at].sweep()

    @rule(at=st.integers(0, NODES - 1), politely=st.booleans())
    def replace(self, *, at: int, politely: bool) -> None:
        node = self.living[at]
        if politely:
            node.leave()
        node.close()
        del self.hands[node]
        self.living[at] = self.nodes.node(*QUEUES)
        self.hands[self.living[at]] = {}

    @rule(paused=st.booleans())
    def pause(self, *, paused: bool) -> None:
        queues = Queues(self.nodes.redis)
        (queues.pause if paused else queues.resume)("other")

    @rule()
    def delete_set_of_nodes(self) -> None:
        self.nodes.redis.delete(self.nodes.keys.nodes)

    @invariant()
    def nothing_vanishes(self) -> None:
        there = Counter([*self._queued(), *self.nodes.held()])
        assert {*there, *self.done} == self.pushed
        # In nobody's hands twice: what is there more than once was acknowledged where it was no longer held.
        assert max(there.values(), default=1) == 1

    def teardown(self) -> None:
        Queues(self.nodes.redis).resume("other")
        last = self.nodes.node(*QUEUES)
        self.nodes.lapse_all()
        last.join()
        while self.nodes.held():
            last.sweep()
        while messages := last.reserve(100).messages:
            self.done.update(message.raw.decode() for message in messages)
            last.acknowledge(message.tag for message in messages)
        assert {*self.done} == self.pushed
        last.leave()
        for node in [*self.living, last]:
            node.close()

    def _some(self, node: Leases) -> list[int]:
        return [tag for tag in self.hands[node] if self.choose.random() < 0.6]

    def _acknowledge(self, node: Leases, tags: list[int]) -> None:
        node.acknowledge(tags)
        for tag in tags:
            self.done[self.hands[node].pop(tag).raw.decode()] += 1

    def _queued(self) -> Iterator[str]:
        for key in self.nodes.keys.queues(QUEUES):
            yield from self.nodes.queued(key)


@pytest.mark.generated
def test_every_message_is_acknowledged_in_the_end_and_never_gone(nodes: Nodes) -> None:
    class OnThisRedis(Work):
        pass

    OnThisRedis.nodes = nodes

    run_state_machine_as_test(
        OnThisRedis,
        settings=settings(
            max_examples=12 * TIMES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
