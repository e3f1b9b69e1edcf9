"""Leases: what a node reserves is its own, in a fair order, until it acknowledges it or gives it back."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.leases import LEASE_S, Nodes, numbered, open_nodes, texts
from worker.errors import WrongSettings
from worker.intake.keys import Keys
from worker.intake.lease_scripts import RESERVE_BYTES, RESERVE_MAX
from worker.intake.queues import Queues
from worker.intake.sweeping import STRAYS_EVERY
from worker.operations.embedded import Urls


@pytest.fixture
def nodes(each_redis: Urls) -> Iterator[Nodes]:
    with open_nodes(each_redis) as opened:
        yield opened


def test_what_is_reserved_is_in_nobody_elses_reach(nodes: Nodes) -> None:
    one, other = nodes.node(), nodes.node()
    nodes.push(*numbered(5))

    taken = one.reserve(3).messages
    rest = other.reserve(10).messages

    assert (texts(taken), texts(rest)) == (numbered(3), numbered(2, 3))
    assert sorted(nodes.held(one.node)) == numbered(3)
    assert nodes.queued() == []


def test_messages_come_oldest_first_with_their_queue_and_rising_tags(nodes: Nodes) -> None:
    node = nodes.node("q", "other")
    nodes.push("a", "b")
    nodes.push("c", queue="other", priority=3)

    first = node.reserve(10).messages
    nodes.push("d")
    second = node.reserve(10).messages

    assert [(each.queue, each.raw, each.deaths) for each in first] == [
        ("q", b"a", None),
        ("q", b"b", None),
        ("other", b"c", None),
    ]
    tags = [each.tag for each in first + second]
    assert tags == sorted(set(tags))


def test_what_is_acknowledged_is_gone_and_asked_twice_no_error(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a", "b")
    one, other = node.reserve(2).messages
    node.mark_running([one.tag, other.tag])

    node.acknowledge([one.tag])
    node.acknowledge([one.tag, 12345])

    assert nodes.held() == ["b"]
    assert list(node.held) == [other.tag]
    assert nodes.redis.hkeys(nodes.keys.running(node.node)) == [str(other.tag).encode()]


def test_who_takes_as_many_as_can_be_taken_at_once_is_told_that_there_may_be_more(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push(*numbered(RESERVE_MAX + 5))

    first, second = node.reserve(2 * RESERVE_MAX), node.reserve(2 * RESERVE_MAX)

    assert (len(first.messages), first.more) == (RESERVE_MAX, True)
    assert (len(second.messages), second.more) == (5, False)


def test_a_full_queue_does_not_starve_another(nodes: Nodes) -> None:
    node = nodes.node("full", "quiet", "empty")
    nodes.push(*numbered(1000), queue="full")
    nodes.push(*numbered(100, 5000), queue="quiet")

    for _ in range(3):
        from_queue = [each.queue for each in node.reserve(12).messages]
        assert len(from_queue) == 12
        assert min(from_queue.count("quiet"), from_queue.count("full")) >= 4


def test_one_at_a_time_the_queues_take_turns(nodes: Nodes) -> None:
    queues = ("a", "b", "c")
    node = nodes.node(*queues)
    for queue in queues:
        nodes.push(*numbered(10), queue=queue)

    taken = [node.reserve(1).messages[0].queue for _ in range(9)]

    assert sorted(taken) == sorted(queues * 3)
    assert all(set(taken[start : start + 3]) == set(queues) for start in (0, 3, 6))


def test_the_urgent_come_first_in_all_queues(nodes: Nodes) -> None:
    node = nodes.node("a", "b")
    for priority in (9, 6, 3, 0):
        nodes.push(f"a{priority}", queue="a", priority=priority)
        nodes.push(f"b{priority}", queue="b", priority=priority)

    taken = texts(node.reserve(100).messages)

    assert [text[1] for text in taken] == list("00336699")


def test_paused_queues_keep_theirs_until_they_are_resumed(nodes: Nodes) -> None:
    node = nodes.node("q", "other")
    queues = Queues(nodes.redis)
    nodes.push("a")
    nodes.push("b", priority=9)
    nodes.push("c", queue="other")

    queues.pause("q")
    while_paused = texts(node.reserve(10).messages)
    queues.resume("q")
    afterwards = texts(node.reserve(10).messages)

    assert (while_paused, afterwards) == (["c"], ["a", "b"])
    assert queues.paused() == frozenset()


def test_a_key_of_another_type_keeps_no_node_from_its_queues(nodes: Nodes) -> None:
    node = nodes.node("broken", "q")
    nodes.redis.set("broken", "no list")
    nodes.push("a")

    taken = node.reserve(10).messages
    nothing = node.reserve(10).messages

    assert (texts(taken), nothing) == (["a"], [])
    assert nodes.held() == ["a"]


def test_a_node_takes_from_more_queues_than_lua_can_unpack_lists(nodes: Nodes) -> None:
    node = nodes.node(*(f"q{number}" for number in range(2_500)))
    nodes.push("a", queue="q2499")

    assert texts(node.reserve(10).messages) == ["a"]


def test_a_node_that_lost_its_lease_takes_nothing_and_goes_on_as_another(nodes: Nodes) -> None:
    node, other = nodes.node(), nodes.node()
    nodes.push("a", "b", "c")
    running, waiting = node.reserve(2).messages
    node.mark_running([running.tag])
    old = node.node
    nodes.lapse(node)
    other.sweep()

    lost = node.reserve(10)
    renewed = node.renew()
    forgotten = node.take_new_identity()

    assert (lost.lost, lost.messages, renewed) == (True, [], False)
    assert forgotten == [waiting.tag]
    assert node.node != old
    assert texts(node.reserve(10).messages) == ["a", "b", "c"]


def test_what_ran_under_an_earlier_identity_is_still_acknowledged(nodes: Nodes) -> None:
    node, other = nodes.node(), nodes.node()
    nodes.push("a", "b")
    running, _ = node.reserve(2).messages
    node.mark_running([running.tag])
    nodes.lapse(node)

    node.take_new_identity()
    node.acknowledge([running.tag])
    other.sweep()

    assert nodes.queued() == ["b"]
    assert nodes.held() == []


def test_a_lapsed_node_that_nobody_has_swept_keeps_what_it_has(nodes: Nodes) -> None:
    node, other = nodes.node(), nodes.node()
    nodes.push("a")
    (message,) = node.reserve(1).messages
    nodes.lapse(node)

    assert node.renew()

    assert other.sweep().nodes == []
    assert node.mark_running([message.tag]) == set()


def test_nothing_starts_once_the_lease_is_gone(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a")
    (message,) = node.reserve(1).messages
    nodes.lapse(node)

    refused = node.mark_running([message.tag])

    assert refused == {message.tag}
    assert nodes.redis.exists(nodes.keys.running(node.node)) == 0


def test_giving_back_keeps_the_order(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push(*numbered(1500))
    messages = node.reserve(700).messages + node.reserve(700).messages

    node.give_back(message.tag for message in messages[100:])

    assert nodes.queued() == numbered(1400, 100)
    assert sorted(nodes.held()) == numbered(100)


def test_who_leaves_leaves_nothing_behind(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push(*numbered(6))
    done, running, *_ = node.reserve(4).messages
    node.mark_running([done.tag, running.tag])
    nodes.lapse(node)
    node.take_new_identity()
    node.reserve(1)
    node.acknowledge([done.tag])

    node.leave()

    assert sorted(nodes.queued()) == numbered(5, 1)
    assert {key for key in nodes.all_keys() if "trivet" in key} == set()


def test_renewing_puts_a_node_back_into_a_deleted_set(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.redis.delete(nodes.keys.nodes)

    assert node.renew()

    assert nodes.redis.smembers(nodes.keys.nodes) == {node.node.encode()}


def test_an_idle_poll_costs_two_commands(nodes: Nodes) -> None:
    node = nodes.node("a", "b", "c")
    node.reserve(10)

    assert nodes.calls(lambda: node.reserve(10)) == {"evalsha": 1, "exists": 1}
    assert nodes.calls(lambda: node.reserve(10, refresh=True)) == {
        "evalsha": 1,
        "exists": 1,
        "pexpire": 1,
    }


def test_an_idle_poll_may_keep_the_lease(nodes: Nodes) -> None:
    node = nodes.node()
    lease = nodes.keys.lease(node.node)
    nodes.redis.pexpire(lease, 5_000)

    node.reserve(10, refresh=True)

    left: Any = nodes.redis.pttl(lease)
    assert left > 50_000
    nodes.lapse(node)
    assert node.reserve(10, refresh=True).lost


def test_what_was_not_started_is_handed_out_again_after_it_was_forgotten(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a", "b", "c")
    running, *others = node.reserve(3).messages
    node.mark_running([running.tag])

    forgotten = node.forget_unstarted()

    assert forgotten == [each.tag for each in others]
    assert node.reserve(10).messages == others
    assert node.line.read_pushes()  # for the queues are still to be looked at


def test_every_key_has_the_global_prefix(nodes: Nodes) -> None:
    nodes.keys = Keys("[app]*:")
    node, dead = nodes.node("q", "other"), nodes.node("q", "other")
    Queues(nodes.redis, "[app]*:").pause("other")
    nodes.push("a", "b", "c", priority=3)
    nodes.push("d", queue="other")
    dead.mark_running(each.tag for each in dead.reserve(2).messages)
    node.mark_running(each.tag for each in node.reserve(1).messages)
    nodes.redis.delete(nodes.keys.nodes)
    nodes.lapse(dead)
    keys = nodes.all_keys()

    swept = [node.sweep().messages for _ in range(STRAYS_EVERY)]

    keys |= nodes.all_keys()
    assert sum(swept) == 2
    assert len(keys) >= 9
    assert all(key.startswith("[app]*:") for key in keys)
    assert [(each.raw, each.deaths) for each in node.reserve(10).messages] == [(b"a", 0), (b"b", 0)]


def test_the_overview_tells_depths_nodes_and_marks(nodes: Nodes) -> None:
    node = nodes.node()
    queues = Queues(nodes.redis)
    nodes.push(*numbered(5))
    nodes.push("urgent", priority=9)
    one, *_ = node.reserve(2).messages
    node.mark_running([one.tag])
    node.mark_waiting([one.tag], 0)
    queues.pause("q")

    seen = queues.overview(["q", "none"])

    assert seen.depths == {"q": {0: 3, 3: 0, 6: 0, 9: 1}, "none": {0: 0, 3: 0, 6: 0, 9: 0}}
    assert (seen.paused, seen.suspects) == (frozenset({"q"}), 1)
    (view,) = seen.nodes.values()
    assert (view.held, view.running) == (2, 0)
    assert 0 < view.lease_ms <= LEASE_S * 1000


def test_a_queue_name_with_a_line_break_is_refused() -> None:
    with pytest.raises(WrongSettings, match="line break"):
        Keys().queues(["a\nb"])


def test_large_messages_are_reserved_a_few_at_a_time_and_all_of_them_in_the_end(nodes: Nodes) -> None:
    node = nodes.node()
    large = [f"{number:04d}{'x' * 300_000}" for number in range(200)]
    for text in large:
        nodes.push(text)

    taken: list[str] = []
    sizes = []
    while (reserved := node.reserve(1_000)).more:
        sizes.append(sum(len(message.raw) for message in reserved.messages))
        taken += texts(reserved.messages)

    assert [*taken, *texts(reserved.messages)] == large
    assert max(sizes) <= RESERVE_BYTES + 50 * 300_004
