"""Leases: a message is in a queue, held by a node or acknowledged, whatever happens to nodes and connections."""

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry

from tests.fixtures.leases import LEASE_S, Nodes, kill_workers, numbered, open_nodes, texts
from tests.fixtures.nodes import wait_for
from worker.errors import WrongSettings
from worker.intake.keys import Keys
from worker.intake.leases import Leased, Leases
from worker.intake.line import require_version
from worker.intake.queues import Queues
from worker.intake.sweeping import STRAYS_EVERY
from worker.operations.embedded import Urls

_processes = multiprocessing.get_context("forkserver")


@pytest.fixture
def nodes(servers: Urls) -> Iterator[Nodes]:
    with open_nodes(servers) as opened:
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


def test_a_full_queue_does_not_starve_another(nodes: Nodes) -> None:
    node = nodes.node("full", "quiet", "empty")
    nodes.push(*numbered(1000), queue="full")
    nodes.push(*numbered(7, 5000), queue="quiet")

    taken = node.reserve(12).messages

    from_queue = [each.queue for each in taken]
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

    calls = _calls(nodes.redis, several[0].sweep)

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


def test_renewing_puts_a_node_back_into_a_deleted_set(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.redis.delete(nodes.keys.nodes)

    assert node.renew()

    assert nodes.redis.smembers(nodes.keys.nodes) == {node.node.encode()}


def test_an_idle_poll_costs_two_commands(nodes: Nodes) -> None:
    node = nodes.node("a", "b", "c")
    node.reserve(10)

    assert _calls(nodes.redis, lambda: node.reserve(10)) == {"evalsha": 1, "exists": 1}
    assert _calls(nodes.redis, lambda: node.reserve(10, refresh=True)) == {
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


def test_a_script_that_redis_forgot_is_sent_again(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a", "b")
    node.reserve(1)

    nodes.redis.script_flush()

    assert texts(node.reserve(1).messages) == ["b"]


def test_what_was_taken_when_the_answer_got_lost_is_handed_out_later(nodes: Nodes) -> None:
    node = nodes.node(client=_impatient(nodes))
    known, late = _known_and_late(nodes, node)

    assert (texts(known), texts(late)) == (["a"], ["b", "c"])
    assert len({each.tag for each in known + late}) == 3
    assert nodes.queued() == []


def test_what_was_taken_behind_a_nodes_back_shows_when_it_renews(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a", "b")
    node.reserve(1)
    held = nodes.keys.held(node.node)
    nodes.redis.hset(held, "77", b"q\nlate")

    assert node.renew()

    assert node.reserve(10).messages == [Leased(77, "q", b"late", None)]
    assert texts(node.reserve(10).messages) == ["b"]


def test_an_acknowledgement_that_found_no_redis_is_made_up_for(nodes: Nodes) -> None:
    node = nodes.node(client=_impatient(nodes))
    nodes.push("a", "b")
    done, other = node.reserve(2).messages
    _hold_up(nodes)
    with pytest.raises(RedisError):
        node.acknowledge([done.tag])
    _until_it_answers(node)

    node.acknowledge()

    assert list(node.held) == [other.tag]
    assert nodes.held() == ["b"]


def test_what_was_not_started_is_handed_out_again_after_it_was_forgotten(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a", "b", "c")
    running, *others = node.reserve(3).messages
    node.mark_running([running.tag])

    forgotten = node.forget_unstarted()

    assert forgotten == [each.tag for each in others]
    assert node.reserve(10).messages == others


def test_a_queue_that_filled_redis_is_still_worked_off(nodes: Nodes) -> None:
    node, dead = nodes.node(), nodes.node()
    nodes.push(*numbered(6))
    dead.mark_running(each.tag for each in dead.reserve(1).messages)
    nodes.lapse(dead)
    nodes.redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        nodes.push("no room")

    messages = node.reserve(3).messages
    node.mark_running([messages[0].tag])
    node.mark_waiting([messages[0].tag], 0)
    node.give_back([messages[2].tag])
    swept = node.sweep()
    node.acknowledge(each.tag for each in messages)

    assert swept.messages == 1
    assert nodes.queued() == ["000000", "000003", "000004", "000005"]
    assert nodes.held() == []


def test_what_cannot_be_filed_is_not_popped(nodes: Nodes) -> None:
    nodes.tell("ACL", "SETUSER", "limited", "on", "nopass", "~*", "&*", "+@all", "-hset")
    password = "any"  # noqa: S105 - it is the user's that needs none
    client: Redis = Redis.from_url(nodes.url.redis, protocol=3, username="limited", password=password)
    node = nodes.node(client=client)
    nodes.push("a", "b")

    with pytest.raises(ResponseError, match="can't run this command"):
        node.reserve(10)
    nodes.tell("ACL", "SETUSER", "limited", "+hset")

    assert nodes.queued() == ["a", "b"]
    assert texts(node.reserve(10).messages) == ["a", "b"]


def test_a_redis_that_became_a_replica_pops_nothing_and_is_left(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a")
    nodes.opened.callback(nodes.tell, "REPLICAOF", "NO", "ONE")
    nodes.tell("REPLICAOF", "127.0.0.1", "1")

    with pytest.raises(RedisError, match="read only"):
        node.reserve(10)

    assert node.line.fileno() is None  # the next command connects to whoever is the master then
    nodes.tell("REPLICAOF", "NO", "ONE")
    assert texts(node.reserve(10).messages) == ["a"]


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


def test_an_old_redis_is_refused_by_its_version() -> None:
    with pytest.raises(WrongSettings, match=r"Redis 6\.0\.16 is too old"):
        require_version("6.0.16")
    for version in ("6.2.14", "7.0.15", "8.2.1", "10.0"):
        require_version(version)


def test_a_hundred_killed_nodes_lose_nothing(nodes: Nodes) -> None:
    process = _processes.Process(target=kill_workers, args=(nodes.url, 100))
    process.start()
    process.join()
    assert process.exitcode == 0
    sweeper = nodes.node()
    nodes.lapse_all()
    sweeper.join()

    sweeper.sweep()

    assert nodes.held() == []
    assert nodes.done() | {*nodes.queued()} == set(numbered(10_000))


def _calls(redis: Redis, action: Callable[[], object]) -> dict[str, int]:
    """Which commands the action has Redis carry out, and how often."""
    redis.config_resetstat()
    action()
    stats: Any = redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
    return {name: count for name, count in calls.items() if not name.startswith(("config", "info"))}


def _impatient(nodes: Nodes) -> Redis:
    retry = Retry(NoBackoff(), 0)
    client: Redis = Redis.from_url(nodes.url.redis, protocol=3, socket_timeout=0.1, retry=retry)
    nodes.opened.callback(client.close)
    return client


def _hold_up(nodes: Nodes) -> None:
    """Let Redis answer nobody for a while; what is sent meanwhile it carries out afterwards."""
    address = urlsplit(nodes.url.redis)
    line = nodes.opened.enter_context(socket.create_connection((address.hostname or "", address.port or 0)))
    line.sendall(b"PING\r\n")
    assert line.recv(100)
    line.sendall(b"DEBUG SLEEP 0.4\r\n")


def _until_it_answers(node: Leases) -> None:
    def answers() -> bool:
        try:
            return node.renew()
        except RedisError:
            return False

    wait_for(answers)


def _known_and_late(nodes: Nodes, node: Leases) -> tuple[list[Leased], list[Leased]]:
    nodes.push("a", "b", "c")
    known = node.reserve(1).messages
    _hold_up(nodes)
    with pytest.raises(RedisError):
        node.reserve(10)
    _until_it_answers(node)
    return known, node.reserve(10).messages
