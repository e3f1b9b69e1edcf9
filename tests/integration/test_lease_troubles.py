"""Leases in trouble: lost answers, a full Redis, a replica, kill -9; no message is lost by any."""

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry

from tests.fixtures.amounts import TIMES
from tests.fixtures.leases import Nodes, kill_workers, numbered, open_nodes, texts
from tests.fixtures.nodes import wait_for
from worker.errors import WrongSettings
from worker.intake.leases import Leased
from worker.intake.line import SILENT_AGAIN_S, require_version
from worker.operations.embedded import Urls

_processes = multiprocessing.get_context("forkserver")


@pytest.fixture
def nodes(servers: Urls) -> Iterator[Nodes]:
    with open_nodes(servers) as opened:
        yield opened


def test_a_script_that_redis_forgot_is_sent_again(nodes: Nodes) -> None:
    node = nodes.node()
    nodes.push("a", "b")
    node.reserve(1)

    nodes.redis.script_flush()

    assert texts(node.reserve(1).messages) == ["b"]


def test_what_was_taken_when_the_answer_got_lost_is_handed_out_later(nodes: Nodes) -> None:
    node = nodes.node(client=_impatient(nodes))
    nodes.push("a", "b", "c")
    taken = node.reserve(1).messages
    _hold_up(nodes)
    with pytest.raises(RedisError):
        node.reserve(10)

    _until_it_answers(nodes, lambda: taken.extend(node.reserve(10).messages))

    assert texts(taken) == ["a", "b", "c"]
    assert len({each.tag for each in taken}) == 3
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

    _until_it_answers(nodes, node.acknowledge)

    assert list(node.held) == [other.tag]
    assert nodes.held() == ["b"]


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
    nodes.opened.callback(nodes.tell, "ACL", "DELUSER", "limited")
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


def test_an_old_redis_is_refused_by_its_version() -> None:
    with pytest.raises(WrongSettings, match=r"Redis 6\.0\.16 is too old"):
        require_version("6.0.16")
    for version in ("6.2.14", "7.0.15", "8.2.1", "10.0"):
        require_version(version)


@pytest.mark.generated
def test_nodes_killed_at_any_instant_lose_nothing(nodes: Nodes) -> None:
    process = _processes.Process(target=kill_workers, args=(nodes.url, 20 * TIMES))
    process.start()
    process.join()
    assert process.exitcode == 0
    sweeper = nodes.node()
    nodes.lapse_all()
    sweeper.join()

    sweeper.sweep()

    assert nodes.held() == []
    assert nodes.done() | {*nodes.queued()} == set(numbered(2_000 * TIMES))


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


def _until_it_answers(nodes: Nodes, action: Callable[[], object]) -> None:
    def answers() -> bool:
        nodes.clock.now += SILENT_AGAIN_S
        try:
            action()
        except RedisError:
            return False
        return True

    wait_for(answers)
