"""Whole beats: killed, frozen, deposed and cut off, each tick is one job, and none between others is missing."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.beats import LOCK_S, PROGRAM, TAKEN_OVER_S, VARIABLE, Beat, StartBeat, Ticks
from tests.fixtures.jobs import Bank, Runner, settings_for
from tests.fixtures.nodes import StartNode, is_frozen, wait_for
from worker.crash_points import TICK_POINTS, TickPoint
from worker.operations.embedded import Stack, Urls
from worker.operations.health import AWAY
from worker.operations.migrating import migrate
from worker.operations.schedule import DEPOSED, LEADS, LOCK, STANDS_BY
from worker.stores.resources import Resources

SLACK_S = 5


@pytest.fixture
def own_ticks(own_servers: Stack) -> Iterator[Ticks]:
    """What came of the ticks on servers that may be stopped."""
    with Resources.open(settings_for(own_servers.urls)) as given:
        migrate(given)
        runner = Runner(given)
        yield Ticks(Bank(runner))
        runner.node.close()


def leading(start_beat: StartBeat, urls: Urls, **environment: str) -> Beat:
    beat = start_beat(urls, **environment)
    beat.wait_said(LEADS)
    return beat


def standing_by(start_beat: StartBeat, urls: Urls) -> Beat:
    beat = start_beat(urls)
    beat.wait_said(STANDS_BY)
    return beat


def takes_over_s(beat: Beat, within_s: float) -> float:
    began = time.monotonic()
    beat.wait_said(LEADS, timeout_s=within_s)
    return time.monotonic() - began


def test_two_beats_side_by_side_take_each_tick_once_and_workers_run_them(
    ticks: Ticks, servers: Urls, start_beat: StartBeat, start_node: StartNode
) -> None:
    start_node(servers, program=PROGRAM)
    leader = leading(start_beat, servers)
    other = standing_by(start_beat, servers)

    ticks.wait_for_more(5, log=leader.log)

    jobs = ticks.check()
    assert (leader.said(LEADS), other.said(LEADS)) == (1, 0)
    ended = "SELECT count(*) FROM trivet.jobs WHERE id = ANY(:ids) AND state = 'succeeded'"
    wait_for(lambda: ticks.bank.value(ended, ids=list(jobs)) == len(jobs), 30)


@pytest.mark.parametrize("point", TICK_POINTS)
def test_a_leader_killed_over_a_tick_is_followed_by_the_other_and_no_tick_is_lost_or_doubled(
    ticks: Ticks, servers: Urls, start_beat: StartBeat, tmp_path: Path, point: TickPoint
) -> None:
    once = {"TRIVET_CRASH_ONCE": str(tmp_path / "crashed")}
    leader = start_beat(servers, TRIVET_CRASH_POINT=f"{point}:kill", **once)
    wait_for(lambda: leader.process.poll() is not None, 90, leader.log)
    assert leader.process.returncode == -signal.SIGKILL
    again = start_beat(servers)
    again.wait_said(STANDS_BY)

    takes_over_s(again, TAKEN_OVER_S + SLACK_S)
    ticks.wait_for_more(3, log=again.log)

    ticks.check()


def test_a_frozen_leader_keeps_nobody_from_ticking_and_stands_by_when_it_is_back(
    ticks: Ticks, servers: Urls, start_beat: StartBeat, tmp_path: Path
) -> None:
    stalls = {"TRIVET_CRASH_POINT": "before_tick_commit:stall", "TRIVET_CRASH_ONCE": str(tmp_path / "crashed")}
    leader = start_beat(servers, **stalls)
    wait_for(lambda: is_frozen(leader.process.pid), 90, leader.log)
    other = standing_by(start_beat, servers)

    takes_over_s(other, TAKEN_OVER_S + SLACK_S)
    ticks.wait_for_more(3, log=other.log)
    leader.signal(signal.SIGCONT)
    leader.wait_said(DEPOSED, timeout_s=20)
    ticks.wait_for_more(2, log=other.log)

    ticks.check()
    leader.wait_said(STANDS_BY, times=2)
    assert leader.said(LEADS) == 1


def test_with_the_settings_that_ship_the_other_takes_over_within_half_a_minute(
    ticks: Ticks, servers: Urls, start_beat: StartBeat
) -> None:
    leader = leading(start_beat, servers, **{VARIABLE: "{}"})
    other = start_beat(servers, **{VARIABLE: "{}"})
    other.wait_said(STANDS_BY)
    ticks.wait_for_more(2, log=leader.log)

    leader.kill()

    took_s = takes_over_s(other, 25 + 5 + SLACK_S)
    ticks.wait_for_more(1, log=other.log)
    ticks.check()
    print(f"taken over after {took_s:.1f} s")


def test_while_postgresql_is_away_ticks_wait_and_then_follow_their_rule(
    own_ticks: Ticks, own_servers: Stack, start_beat: StartBeat
) -> None:
    beat = leading(start_beat, own_servers.urls)
    own_ticks.wait_for_more(2, log=beat.log)

    own_servers.postgres.stop()
    beat.wait_said(AWAY)
    time.sleep(4)  # so many ticks are missed
    own_servers.postgres.start()
    own_ticks.wait_for_more(3, log=beat.log)

    jobs = own_ticks.check()
    each = own_ticks.bank.value(
        "SELECT count(*) FROM trivet.jobs WHERE headers ->> 'idempotency_key' LIKE '%/each/%'"
    )
    once = len(jobs) - each
    assert each - once >= 3
    assert beat.stop() == 0


def test_while_redis_is_away_beat_waits_and_then_catches_up(
    own_ticks: Ticks, own_servers: Stack, start_beat: StartBeat
) -> None:
    beat = leading(start_beat, own_servers.urls)
    own_ticks.wait_for_more(2, log=beat.log)

    own_servers.redis.kill()
    beat.wait_said(AWAY)
    time.sleep(LOCK_S + 1)  # its lock has run out by then
    own_servers.redis.start()
    own_ticks.wait_for_more(2, log=beat.log)

    own_ticks.check()
    assert beat.said(LEADS) == 2
    assert beat.stop() == 0


def test_a_beat_that_starts_without_redis_or_postgresql_waits_for_them(
    own_ticks: Ticks, own_servers: Stack, start_beat: StartBeat
) -> None:
    urls = own_servers.urls
    own_servers.redis.stop()
    own_servers.postgres.stop()

    beat = start_beat(urls)
    beat.wait_said(AWAY)
    own_servers.redis.start()
    own_servers.postgres.start()
    own_ticks.wait_for_more(2, log=beat.log)

    own_ticks.check()


def test_an_emptied_redis_costs_no_tick_and_the_schedule_goes_on(
    ticks: Ticks, servers: Urls, start_beat: StartBeat
) -> None:
    redis = ticks.bank.run.given.redis
    leader = leading(start_beat, servers)
    other = standing_by(start_beat, servers)
    ticks.wait_for_more(2, log=leader.log)

    for _ in range(2):
        redis.flushall()
        ticks.wait_for_more(3, log=leader.log)

    ticks.check()
    assert leader.said(DEPOSED) + other.said(DEPOSED) >= 1
    assert [beat.process.poll() for beat in (leader, other)] == [None, None]


def test_a_beat_whose_lock_was_stolen_stands_by_and_leads_again_when_it_is_free(
    ticks: Ticks, servers: Urls, start_beat: StartBeat
) -> None:
    redis = ticks.bank.run.given.redis
    beat = leading(start_beat, servers)
    ticks.wait_for_more(1, log=beat.log)

    redis.set(LOCK, "somebody else", px=2_500)
    beat.wait_said(DEPOSED)
    beat.wait_said(STANDS_BY, times=2)
    assert redis.get(LOCK) == b"somebody else"
    beat.wait_said(LEADS, times=2)
    ticks.wait_for_more(2, log=beat.log)

    ticks.check()
    assert beat.stop() == 0
    assert not redis.exists(LOCK)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_beat_ends_at_once_leading_or_standing_by_and_gives_the_lock_away(
    ticks: Ticks, servers: Urls, start_beat: StartBeat, number: signal.Signals
) -> None:
    leader = leading(start_beat, servers)
    first, second = standing_by(start_beat, servers), standing_by(start_beat, servers)

    told = time.time()
    first.signal(number)
    leader.signal(number)
    codes = [beat.process.wait(30) for beat in (first, leader)]
    second.wait_said(LEADS)

    assert codes == [0, 0]
    assert second.said_at(LEADS) - told < LOCK_S  # sooner than the lock would have run out
    assert "Traceback" not in leader.log.read_text() + first.log.read_text()


def test_two_installations_on_one_redis_have_a_leader_each(
    ticks: Ticks, servers: Urls, start_beat: StartBeat
) -> None:
    leading(start_beat, servers)

    leading(start_beat, servers, TRIVET_QUEUE_PREFIX="other:")

    assert ticks.bank.run.given.redis.exists(LOCK, f"other:{LOCK}") == 2
