"""Sweeps: what dead nodes held goes back to the heads of the queues, and what was running is suspect."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fixtures.leases import LEASE_S, Nodes, numbered, open_nodes
from tests.fixtures.nodes import wait_for
from worker.intake.leases import Leases
from worker.intake.sweeping import STRAYS_EVERY
from worker.operations.embedded import Urls


@pytest.fixture
def nodes(each_redis: Urls) -> Iterator[Nodes]:
    with open_nodes(each_redis) as opened:
        yield opened


def test_a_lease_runs_out_by_itself_and_renewing_keeps_it(nodes: Nodes) -> None:
    living, dead, sweeper = (nodes.node(lease_s=0.4) for _ in range(3))
    nodes.push("a", "b")
    living.reserve(1)
    dead.reserve(1)
    nodes.clock.now += LEASE_S

    wait_for(lambda: living.renew() and sweeper.renew() and sweeper.sweep().messages)

    assert (nodes.held(), nodes.queued()) == (["a"], ["b"])
    assert nodes.redis.smembers(nodes.keys.nodes) == {living.node.encode(), sweeper.node.encode()}


@pytest.mark.parametrize("count", [3, 1234])
def test_a_dead_nodes_messages_go_back_to_the_head_in_order(nodes: Nodes, count: int) -> None:
    dead, sweeper = nodes.node(), nodes.node()
    nodes.push(*numbered(count))
    wait_for(lambda: not dead.reserve(1000).messages)
    nodes.push(*numbered(2, count))
    nodes.lapse(dead)

    swept = sweeper.sweep()

    assert (swept.nodes, swept.messages) == ([dead.node], count)
    assert nodes.queued() == numbered(count + 2)
    assert list(nodes.redis.scan_iter("*held*")) == []


def test_running_messages_of_a_dead_node_are_suspects_and_only_deaths_alone_count(nodes: Nodes) -> None:
    nodes.push("batched", "alone", "waiting")
    seen = []
    for _ in range(3):
        dead, sweeper = nodes.node(), nodes.node()
        batched, alone, waiting = dead.reserve(3).messages
        seen.append((batched.deaths, alone.deaths, waiting.deaths))
        dead.mark_running([batched.tag])
        dead.mark_running([alone.tag], alone.deaths or 0)
        nodes.lapse(dead)
        sweeper.sweep()

    assert seen == [(None, None, None), (0, 1, None), (0, 2, None)]


def test_a_suspect_stays_one_until_it_is_acknowledged(nodes: Nodes) -> None:
    node, other = nodes.node(), nodes.node()
    nodes.push("a")
    (message,) = node.reserve(1).messages
    node.mark_running([message.tag], 1)
    node.mark_waiting([message.tag], 2)
    node.give_back([message.tag])

    (again,) = other.reserve(1).messages
    other.acknowledge([again.tag])
    nodes.push("a")
    (fresh,) = node.reserve(1).messages

    assert (again.deaths, fresh.deaths) == (2, None)
    assert nodes.redis.exists(nodes.keys.suspects) == 0


def test_a_message_that_waits_after_its_process_died_is_not_counted_as_running(nodes: Nodes) -> None:
    dead, sweeper = nodes.node(), nodes.node()
    nodes.push("a")
    (message,) = dead.reserve(1).messages
    dead.mark_running([message.tag], 0)
    dead.mark_waiting([message.tag], 1)
    nodes.lapse(dead)

    sweeper.sweep()

    assert [each.deaths for each in sweeper.reserve(1).messages] == [1]


def test_the_deaths_of_a_suspect_never_go_down(nodes: Nodes) -> None:
    dead, sweeper = nodes.node(), nodes.node()
    nodes.push("a")
    (message,) = dead.reserve(1).messages
    dead.mark_waiting([message.tag], 2)
    dead.mark_waiting([message.tag], 1)
    dead.mark_running([message.tag])
    nodes.lapse(dead)

    sweeper.sweep()

    assert [each.deaths for each in sweeper.reserve(1).messages] == [2]


def test_sweepers_at_once_put_nothing_back_twice(nodes: Nodes) -> None:
    dead = [nodes.node() for _ in range(3)]
    sweepers = [nodes.node() for _ in range(4)]
    nodes.push(*numbered(2400))
    for node in dead:
        node.reserve(800)
    nodes.lapse(*dead)

    with ThreadPoolExecutor(4) as threads:
        swept = list(threads.map(Leases.sweep, sweepers))

    assert sum(each.messages for each in swept) == 2400
    assert sorted(nodes.queued()) == numbered(2400)


def test_a_sweep_that_ends_halfway_is_taken_over(nodes: Nodes) -> None:
    dead, sweeper = nodes.node(), nodes.node()
    nodes.push(*numbered(10))
    dead.reserve(10)
    nodes.lapse(dead)
    sweeper._scripts.put_back(dead.node, [10, 9, 8], swept=True)  # noqa: SLF001 - a part of a sweep

    sweeper.sweep()

    assert nodes.queued() == numbered(10)


def test_a_node_that_renews_in_the_middle_of_a_sweep_keeps_the_rest(nodes: Nodes) -> None:
    slow, sweeper = nodes.node(), nodes.node()
    nodes.push("a", "b")
    tags = [each.tag for each in slow.reserve(2).messages]
    nodes.lapse(slow)
    steps = sweeper._scripts  # noqa: SLF001 - the steps of a sweep, one by one

    first = steps.put_back(slow.node, tags[1:], swept=True)
    slow.renew()
    second = steps.put_back(slow.node, tags[:1], swept=True)
    forgotten = steps.forget_node(slow.node)

    assert (first, second, forgotten) == (1, None, False)
    assert (nodes.held(slow.node), nodes.queued()) == (["a"], ["b"])


def test_what_finds_its_queue_taken_by_another_key_stays_held_until_it_is_free(nodes: Nodes) -> None:
    dead, sweeper = nodes.node("q", "taken"), nodes.node()
    nodes.push("a")
    nodes.push("b", queue="taken")
    dead.reserve(2)
    nodes.redis.set("taken", "no list")
    nodes.lapse(dead)

    at_first = sweeper.sweep()
    nodes.redis.delete("taken")
    later = sweeper.sweep()

    assert (at_first.nodes, at_first.messages) == ([], 1)
    assert (later.nodes, later.messages) == ([dead.node], 1)
    assert (nodes.queued(), nodes.queued("taken")) == (["a"], ["b"])


def test_no_sweep_before_the_connection_is_one_lease_old(nodes: Nodes) -> None:
    dead, sweeper = nodes.node(), nodes.node()
    nodes.push("a")
    dead.reserve(1)
    nodes.redis.delete(nodes.keys.lease(dead.node))

    at_once = sweeper.sweep().messages
    nodes.clock.now += LEASE_S
    sweeper.close()
    after_a_reconnect = sweeper.sweep().messages
    nodes.clock.now += LEASE_S
    one_lease_later = sweeper.sweep().messages

    assert (at_once, after_a_reconnect, one_lease_later) == (0, 0, 1)


def test_looking_for_dead_nodes_costs_two_commands_when_all_live(nodes: Nodes) -> None:
    several = [nodes.node() for _ in range(20)]
    nodes.clock.now += LEASE_S

    calls = nodes.calls(several[0].sweep)

    assert calls == {"smembers": 1, "mget": 1}


def test_deleted_leases_lose_nothing(nodes: Nodes) -> None:
    several = [nodes.node() for _ in range(3)]
    nodes.push(*numbered(9))
    taken = [message for node in several for message in node.reserve(3).messages]
    nodes.lapse(*several)

    several[0].sweep()  # before the others renew, who therefore lose theirs
    kept = [node.renew() or bool(node.take_new_identity()) for node in several]

    assert (len(taken), kept) == (9, [True, True, True])
    assert sorted(nodes.held()) == numbered(3)
    assert sorted(nodes.queued()) == numbered(6, 3)


def test_a_node_that_only_its_held_messages_tell_of_is_found(nodes: Nodes) -> None:
    dead, living, sweeper = (nodes.node() for _ in range(3))
    nodes.push("a", "b")
    dead.reserve(1)
    living.reserve(1)
    nodes.redis.delete(nodes.keys.nodes)
    nodes.lapse(dead)

    swept = [node for _ in range(STRAYS_EVERY) for node in sweeper.sweep().nodes]

    assert swept == [dead.node]
    assert (nodes.queued(), nodes.held()) == (["a"], ["b"])
