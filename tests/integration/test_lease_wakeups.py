"""Waking up: Redis tells a node that something came in, and no such news is lost."""

import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.exceptions import RedisError

from tests.fixtures.leases import Nodes, numbered, open_nodes, texts
from tests.fixtures.nodes import wait_for
from worker.intake.leases import Leases
from worker.intake.queues import Queues
from worker.operations.embedded import Urls


@pytest.fixture
def nodes(each_redis: Urls) -> Iterator[Nodes]:
    with open_nodes(each_redis) as opened:
        yield opened


@pytest.fixture
def node(nodes: Nodes) -> Leases:
    """A node that has looked, found nothing and been told of everything so far."""
    node = nodes.node("q", "other")
    _settle(node)
    return node


@pytest.mark.parametrize(("queue", "priority"), [("q", 0), ("q", 9), ("other", 3)])
def test_a_push_by_anybody_wakes_within_a_tenth_of_a_second(
    nodes: Nodes, node: Leases, queue: str, priority: int
) -> None:
    nodes.push("a", queue=queue, priority=priority)

    assert _readable(node, 0.1)
    assert node.line.read_pushes()
    assert not node.line.read_pushes()
    assert not _readable(node)


def test_what_the_node_does_itself_does_not_wake_it(nodes: Nodes, node: Leases) -> None:
    nodes.push(*numbered(10))
    node.line.read_pushes()

    taken = node.reserve(4).messages + node.reserve(4).messages
    node.give_back([taken[-1].tag])
    node.reserve(10)
    node.acknowledge(message.tag for message in taken)

    assert not node.line.read_pushes()
    assert not _readable(node, 0.1)


def test_after_a_reservation_the_next_push_wakes(nodes: Nodes, node: Leases) -> None:
    nodes.push("a", "b", "c")
    for limit in (1, 10, 10):  # some are left, none is left, there is one
        node.reserve(limit)
        node.line.read_pushes()

        nodes.push("more")

        assert _readable(node, 0.1)
        assert node.line.read_pushes()


def test_other_keys_do_not_wake(nodes: Nodes, node: Leases) -> None:
    nodes.push("a", queue="another")
    nodes.redis.set(nodes.keys.lease(node.node), "1", px=60_000)
    nodes.redis.sadd(nodes.keys.nodes, "another")

    assert not node.line.read_pushes()


def test_resuming_a_queue_wakes(nodes: Nodes, node: Leases) -> None:
    queues = Queues(nodes.redis)
    queues.pause("q")
    nodes.push("a")
    assert node.reserve(10).messages == []
    _settle(node)

    queues.resume("q")

    assert _readable(node, 0.1)
    assert node.line.read_pushes()
    assert texts(node.reserve(10).messages) == ["a"]


def test_emptying_redis_wakes(nodes: Nodes, node: Leases) -> None:
    nodes.redis.flushall()

    assert _readable(node, 0.1)
    assert node.line.read_pushes()


def test_a_push_that_is_read_with_the_answer_of_a_command_is_not_lost(nodes: Nodes, node: Leases) -> None:
    nodes.push("a")  # its news lies in the socket, in front of the answer
    node.renew()

    assert not _readable(node)
    assert node.line.woken
    assert node.line.read_pushes()


def test_a_push_in_the_same_packet_behind_the_answer_is_not_lost(nodes: Nodes, node: Leases) -> None:
    address = urlsplit(nodes.url.redis)
    with socket.create_connection((address.hostname or "", address.port or 0)) as other:
        other.sendall(b"BRPOPLPUSH source q 5\r\n")
        wait_for(lambda: _blocked_clients(nodes))

        # Redis answers this, and then serves the other client, whose push into `q` is news.
        node.line.call("LPUSH", "source", "a")

    assert node.line.woken
    assert node.line.read_pushes()


def test_a_node_whose_connection_was_killed_is_woken_again_after_it_reconnected(nodes: Nodes, node: Leases) -> None:
    session = node.line.session
    nodes.redis.client_kill_filter(_type="normal", skipme=True)
    assert _readable(node, 1)  # the end of the connection wakes as well
    with pytest.raises(RedisError):
        node.line.read_pushes()
    assert node.line.fileno() is None

    node.reserve(10)
    assert (node.line.session, node.line.woken) == (session + 1, True)
    _settle(node)
    nodes.push("a")

    assert _readable(node, 0.1)
    assert node.line.read_pushes()


def test_a_killed_connection_that_nobody_looked_at_shows_with_the_next_command(nodes: Nodes, node: Leases) -> None:
    nodes.push("a")
    nodes.redis.client_kill_filter(_type="normal", skipme=True)

    with suppress(RedisError):
        node.reserve(10)
    taken = node.reserve(10).messages

    assert texts(taken) == ["a"]
    assert nodes.held() == ["a"]


def _settle(node: Leases) -> None:
    node.reserve(10)
    node.line.read_pushes()


def _readable(node: Leases, timeout_s: float = 0) -> bool:
    descriptor = node.line.fileno()
    assert descriptor is not None
    return bool(select.select([descriptor], [], [], timeout_s)[0])


def _blocked_clients(nodes: Nodes) -> int:
    info: Any = nodes.redis.info("clients")
    return int(info["blocked_clients"])
