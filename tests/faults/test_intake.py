"""What may strike a node's intake: nothing is lost, nothing takes effect twice, and others take over in time."""

import base64
import json
import os
import pickle
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from tests.fixtures.fleet import Fleet, loaded
from tests.fixtures.jobs import Bank, Runner, message, settings_for
from tests.fixtures.load import ended, mixed, send, settle
from tests.fixtures.nodes import StartNode, WorkerNode, wait_for
from worker.delivery.stream import TURNS
from worker.envelopes import body_of, envelope
from worker.execution.sends import COUNTER
from worker.intake.queues import Queues
from worker.messages import Message
from worker.operations.embedded import Stack, Urls
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

LEASE_S = 3
TAKEN_OVER_S = LEASE_S + 2
RESUMED_S = 5


@pytest.fixture
def fleet(bank: Bank, servers: Urls, start_node: StartNode) -> Fleet:
    """Nodes with a short lease on the shared servers."""
    start = partial(start_node, servers, TRIVET_LEASE_S=str(LEASE_S), TRIVET_BATCH_MAX="50")
    return Fleet(bank.run.given.redis, start)


@pytest.fixture
def own_bank(own_servers: Stack) -> Iterator[Bank]:
    """A bank on servers that the test may kill."""
    with Resources.open(settings_for(own_servers.urls)) as given:
        migrate(given)
        bank = Bank(Runner(given))
        yield bank
        bank.run.node.close()


@contextmanager
def plain_app(urls: Urls) -> Iterator[Celery]:
    """A Celery app that knows nothing of ours but the broker."""
    app = Celery("somebody-elses", broker=urls.redis, set_as_current=False)
    try:
        yield app
    finally:
        app.close()


def tell(found: str) -> None:
    """Shown with `pytest -s`."""
    sys.stdout.write(f"{found}\n")


def parked(bank: Bank) -> list[Any]:
    return list(bank.rows("SELECT task, data FROM trivet.jobs WHERE state = 'parked'"))


def deposit(account: UUID, amount: int = 1) -> Message:
    return message("accounts.deposit", {"account": account, "amount": amount})


def has_ended(bank: Bank, *messages: Message) -> bool:
    ids = [UUID(one.task_id) for one in messages]
    sql = "SELECT count(*) FROM trivet.jobs WHERE id = ANY(:ids) AND ended_at IS NOT NULL"
    return bool(bank.value(sql, ids=ids) == len(ids))


def run_soon(bank: Bank, one: Message, within_s: float) -> None:
    """Send a job, and see it end in time."""
    send(bank, [one])
    wait_for(lambda: has_ended(bank, one), within_s)


def in_time(bank: Bank, account: UUID, within_s: float) -> None:
    """A job sent now ends in time."""
    run_soon(bank, deposit(account), within_s)


# Nodes that die, freeze or leave


def test_a_killed_node_s_messages_are_taken_over_within_the_lease_and_two_seconds(bank: Bank, fleet: Fleet) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 9_000)
    bursts = [mixed(accounts, 600, seed=seed) for seed in (2, 3, 4)]
    nodes = [fleet.add(), fleet.add()]

    takeovers = []
    with loaded(bank.run.given.redis, jobs, rate=300) as load:
        for burst in bursts:
            send(bank, burst)
            victim = nodes.pop(0)
            wait_for(partial(fleet.holds, victim), 10)
            takeovers.append(fleet.kill(victim))
            nodes.append(fleet.add())
        found = [takeover.result(30) for takeover in takeovers]
    tell(f"taken over after {[round(seconds, 2) for seconds in found]} s")
    settle(bank, load.sent + 1_800)

    assert max(found) <= TAKEN_OVER_S
    assert parked(bank) == []
    assert fleet.in_hand() == {}


def test_a_node_frozen_past_its_lease_drops_what_it_had_not_started_and_goes_on_under_another_name(
    bank: Bank, fleet: Fleet
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 2_000)
    frozen, other = fleet.add(), fleet.add()
    everything = [frozen.node.pid, *frozen.node.pool_pids()]

    send(bank, jobs)
    wait_for(lambda: fleet.holds(frozen) > 100, 10)
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    had = fleet.holds(frozen)
    settle(bank, len(jobs))  # without it: another node has run all of its messages
    for pid in everything:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "lease.lost" in frozen.node.log.read_text(), 10)
    assert other.node.stop() == 0
    in_time(bank, accounts[0], 2)
    settle(bank, len(jobs) + 1)

    assert had > 0
    assert len(fleet.names() - {frozen.name, other.name}) == 1
    assert parked(bank) == []
    assert fleet.in_hand() == {}
    assert frozen.node.stop() == 0


def test_a_pool_process_frozen_alone_keeps_its_locks_for_a_third_of_the_lease_and_its_batch_runs_once(
    bank: Bank, servers: Urls, start_node: StartNode
) -> None:
    account = bank.open(0)
    node = start_node(servers, concurrency=1, TRIVET_LEASE_S="6")
    (process,) = node.pool_pids()
    jobs = [deposit(account) for _ in range(5)]

    with row_locked(bank.run.given.engine, account):
        send(bank, jobs)
        wait_for(partial(waits_for_a_lock, bank), 5)
        os.kill(process, signal.SIGSTOP)
    began = time.monotonic()
    wait_for(partial(can_be_locked, bank.run.given.engine, account), 6)
    locked_s = time.monotonic() - began
    os.kill(process, signal.SIGCONT)
    wait_for(lambda: has_ended(bank, *jobs), 10)

    tell(f"locks gone after {locked_s:.2f} s")
    assert locked_s <= 6 / 3 + 1
    assert bank.balance(account) == 5
    assert parked(bank) == []
    assert node.stop() == 0


@contextmanager
def row_locked(engine: Engine, account: UUID) -> Iterator[None]:
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT 1 FROM accounts WHERE id = :id FOR UPDATE"), {"id": account})
        yield


def waits_for_a_lock(bank: Bank) -> bool:
    return bool(bank.value("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def can_be_locked(engine: Engine, account: UUID) -> bool:
    try:
        with engine.begin() as connection:
            sql = "SELECT 1 FROM accounts WHERE id = :id FOR UPDATE NOWAIT"
            connection.execute(text(sql), {"id": account})
    except OperationalError:
        return False
    return True


def left_in_redis(redis: Any) -> set[str]:
    """What nodes leave behind, beside the counters of delivery, which stay."""
    return {key.decode() for key in redis.scan_iter("trivet:*")} - {TURNS, COUNTER}


def test_a_node_that_is_told_to_end_under_load_hands_back_everything_at_once(bank: Bank, fleet: Fleet) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 3_000)
    first = fleet.add()

    send(bank, jobs)
    wait_for(lambda: ended(bank) > 100, 10)
    exit_code = first.node.stop()
    redis: Any = bank.run.given.redis
    left_over = left_in_redis(redis)
    done = ended(bank)
    fleet.add()
    settle(bank, len(jobs))

    assert exit_code == 0
    assert left_over == set()
    assert done < len(jobs)
    assert parked(bank) == []


# Redis that dies, cuts or forgets


def test_a_killed_redis_costs_nothing_and_intake_resumes_within_five_seconds(
    own_bank: Bank, own_servers: Stack, start_node: StartNode
) -> None:
    accounts = own_bank.open_many(10, 1_000)
    jobs = mixed(accounts, 6_000)
    node = start_node(own_servers.urls, TRIVET_LEASE_S=str(LEASE_S))

    with loaded(own_bank.run.given.redis, jobs, rate=400) as load:
        for share in (200, 800):
            wait_for(partial(lambda share: ended(own_bank) > share, share), 15)
            own_servers.redis.kill()
            own_servers.redis.start()
            before = ended(own_bank)
            wait_for(partial(lambda before: ended(own_bank) > before, before), RESUMED_S)
    settle(own_bank, load.sent)

    assert parked(own_bank) == []
    assert node.stop() == 0


@pytest.mark.parametrize("times", [1, 8])
def test_cut_connections_cost_nothing_and_intake_resumes_within_five_seconds(
    bank: Bank, fleet: Fleet, times: int
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 3_000)
    member = fleet.add()

    send(bank, jobs)
    for turn in range(times):
        wait_for(partial(lambda share: ended(bank) > share, 200 * turn), 15)
        cut(bank.run.given.redis)
    in_time(bank, accounts[0], 3 * RESUMED_S)  # behind all the others
    settle(bank, len(jobs) + 1)
    in_time(bank, accounts[0], RESUMED_S)

    assert parked(bank) == []
    wait_for(lambda: fleet.in_hand() == {}, LEASE_S)
    assert member.node.stop() == 0


def test_a_node_that_lost_its_connection_under_load_still_tends_what_was_left_behind(
    bank: Bank, start_node: StartNode, servers: Urls, tmp_path: Path
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 2_500)
    node = start_node(servers, concurrency=1, TRIVET_LEASE_S=str(LEASE_S), TRIVET_BATCH_MAX="50")

    send(bank, jobs)
    for share in range(0, 2_000, 200):
        wait_for(partial(lambda share: ended(bank) > share, share), 15)
        cut_all(bank.run.given.redis)
    settle(bank, len(jobs))
    again = message("testing.fail", {"path": str(tmp_path / "tries"), "times": 1})
    push(bank, [again])
    wait_for(lambda: bank.run.given.redis.llen("testing"), 10, node.log)  # the timer sends it once more

    assert node.stop() == 0


def cut(redis: Any) -> None:
    redis.execute_command("CLIENT", "KILL", "TYPE", "normal")


def cut_all(redis: Any) -> None:
    """Celery's own too: its consumer begins again."""
    cut(redis)
    redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def forget_leases(redis: Any) -> None:
    redis.delete(*redis.scan_iter("trivet:lease:*"))


def forget_nodes(redis: Any) -> None:
    redis.delete("trivet:nodes")


def forget_both(redis: Any) -> None:
    forget_leases(redis)
    forget_nodes(redis)


@pytest.mark.parametrize("forget", [forget_leases, forget_nodes, forget_both])
def test_leases_and_names_that_somebody_deletes_cost_nothing(
    bank: Bank, fleet: Fleet, forget: Callable[[Redis], None]
) -> None:
    accounts = bank.open_many(10, 1_000)
    jobs = mixed(accounts, 3_000)
    members = [fleet.add(), fleet.add()]

    send(bank, jobs)
    for share in (100, 700, 1_500):
        wait_for(partial(lambda share: ended(bank) > share, share), 15)
        forget(bank.run.given.redis)
        before = ended(bank)
        wait_for(partial(lambda before: ended(bank) > before, before), RESUMED_S)
    settle(bank, len(jobs))
    in_time(bank, accounts[0], RESUMED_S)

    assert parked(bank) == []
    wait_for(lambda: fleet.in_hand() == {}, 4 * LEASE_S)
    assert [member.node.stop() for member in members] == [0, 0]


# Jobs that wait for their time


@pytest.mark.parametrize(("countdown_s", "kills"), [(4.0, 0), (8.0, 1), (3.5, 1)])
def test_a_job_that_waits_for_longer_than_a_lease_runs_once_and_on_time(
    bank: Bank, fleet: Fleet, servers: Urls, countdown_s: float, kills: int
) -> None:
    account = bank.open(0)
    members = [fleet.add(), fleet.add()]

    with plain_app(servers) as app:
        due = time.time() + countdown_s
        task_id = send_deposit(app, account, countdown=countdown_s)
    wait_for(lambda: any(map(fleet.holds, members)), 2)
    taken_over_at = 0.0
    if kills:
        (holder,) = [member for member in members if fleet.holds(member)]
        fleet.kill(holder)
        taken_over_at = time.time() + TAKEN_OVER_S
    job = message("accounts.deposit", {}, task_id)
    wait_for(lambda: has_ended(bank, job), 15)
    ended_at = bank.value("SELECT extract(epoch FROM ended_at)::float8 FROM trivet.jobs WHERE id = :id", id=task_id)

    tell(f"{ended_at - due:+.3f} s after its time")
    assert due - 0.01 <= ended_at <= max(due, taken_over_at) + 1
    assert bank.balance(account) == 1


def test_a_job_that_waits_for_its_time_outlives_the_connection_to_redis(
    bank: Bank, fleet: Fleet, servers: Urls
) -> None:
    account = bank.open(0)
    member = fleet.add()

    with plain_app(servers) as app:
        due = time.time() + 5
        task_id = send_deposit(app, account, countdown=5)
        wait_for(partial(fleet.holds, member), 2)
        cut(bank.run.given.redis)
    job = message("accounts.deposit", {}, task_id)
    wait_for(lambda: has_ended(bank, job), 15)

    assert abs(time.time() - due) <= 1
    assert bank.balance(account) == 1


def send_deposit(app: Celery, account: UUID, **options: Any) -> UUID:
    payload = {"account": str(account), "amount": 1}
    return UUID(app.send_task("accounts.deposit", kwargs=payload, queue="accounts", **options).id)


# Junk


def element(*, body: bytes | str | None = None, **changes: Any) -> bytes:
    """A deposit as a Celery client sends it, with some of it changed; `headers` and `properties` are added to."""
    whole = json.loads(envelope(message("accounts.deposit", {"account": str(uuid4()), "amount": 1})))
    if body is not None:
        whole["body"] = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    for name, value in changes.items():
        if isinstance(value, dict) and name in {"headers", "properties"}:
            whole[name] |= value
        else:
            whole[name.replace("_", "-")] = value
    return json.dumps(whole).encode()


def without(*names: str) -> bytes:
    whole = json.loads(element())
    return json.dumps({name: value for name, value in whole.items() if name not in names}).encode()


def payload(raw: bytes) -> bytes:
    return body_of(raw)


PICKLED = pickle.dumps(os.getpid)
LARGE = payload(b'{"account": "' + b"x" * 2**20 + b'"}')
NESTED = payload(b'{"account": ' + b"[" * 200 + b"]" * 200 + b"}")
ABYSS = payload(b'{"account": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")

UNREADABLE_ELEMENTS = {
    "raw bytes": b"\x00\xff\xfe raw \x80",
    "nothing": b"",
    "a list": b"[1,2]",
    "null": b"null",
    "a number": b"7",
    "a text": b'"text"',
    "an empty object": b"{}",
    "a deep list": b"[" * 200_000,
    "wrong base64": element(body="!!!"),
    "no headers": without("headers"),
    "no properties": without("properties"),
    "no body": without("body"),
    "headers that are a list": element(headers=[1]),
    "a task that is a number": element(headers={"task": 7}),
    "no id": element(headers={"id": None}),
}
"""Parked with the very bytes of the element."""

UNREADABLE_BODIES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "pickle": (PICKLED, {"content_type": "application/x-python-serialize"}),
    "yaml": (b"a: 1", {"content_type": "application/x-yaml"}),
    "an unknown version": (payload(b"{}"), {"headers": {"payload_version": 7}}),
    "an unknown task": (payload(b"{}"), {"headers": {"task": "accounts.rob"}}),
    "an unknown task with a hostile name": (payload(b"{}"), {"headers": {"task": "x\0\ud800" * 300}}),
    "a body that is no protocol": (b"{}", {}),
    "a body that is no JSON": (b"\xff\x00", {}),
    "an abyss": (ABYSS, {}),
}
"""Parked with the bytes of the body."""

REJECTED_BODIES = {
    "1 MiB": (LARGE, "payload_too_large"),
    "deep": (NESTED, "invalid_payload"),
    "null as kwargs' account": (payload(b'{"account": null}'), "invalid_payload"),
}


def test_junk_in_a_queue_is_parked_or_rejected_and_the_next_job_runs_within_a_second(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    account = bank.open(0)
    node = start_node(servers)
    wrong = []

    junk = [(name, raw, raw, "unreadable") for name, raw in UNREADABLE_ELEMENTS.items()]
    for name, (body, changes) in UNREADABLE_BODIES.items():
        junk.append((name, element(body=body, **changes), body, "unknown_task" if "task" in name else "unreadable"))
    for name, (body, code) in REJECTED_BODIES.items():
        junk.append((name, element(body=body), b"", code))
    for name, raw, kept, code in junk:
        known = ids(bank)
        bank.run.given.redis.lpush("accounts", raw)
        in_time(bank, account, 1)
        (found,) = fresh(bank, known)
        if (found.code, found.kept) != (code, kept):
            wrong.append((name, found.code, found.kept[:40]))

    assert wrong == []
    assert bank.balance(account) == len(junk)
    assert node.process.poll() is None
    assert node.stop() == 0


def ids(bank: Bank) -> set[UUID]:
    return {row.id for row in bank.rows("SELECT id FROM trivet.jobs")}


def fresh(bank: Bank, known: set[UUID]) -> list[Any]:
    """The junk that has been brought to an end since then."""
    sql = """
        SELECT data ->> 'code' AS code, coalesce(body, '') AS kept FROM trivet.jobs
        WHERE NOT id = ANY(:known) AND state <> 'succeeded' AND ended_at IS NOT NULL
    """
    wait_for(lambda: bank.rows(sql, known=list(known)), 1)
    return list(bank.rows(sql, known=list(known)))


EMBEDDED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

HOSTILE_TO_CELERY: dict[str, dict[str, Any]] = {
    "a group that is a number": {"headers": {"group": 7}},
    "a chord that is a number": {"headers": {"chord": 7}},
    "delivery info that is a number": {"headers": {"group": "g"}, "properties": {"delivery_info": 7}},
    "no delivery info": {"headers": {"group": "g"}, "properties": {"delivery_info": None}},
    "a time limit that is a number": {"headers": {"group": "g", "timelimit": 7}},
    "a time limit of texts": {"headers": {"group": "g", "timelimit": ["a", "b"]}},
    "an ETA that is a list": {"headers": {"group": "g", "eta": [7]}},
    "an expiry that is an object": {"headers": {"group": "g", "expires": {}}},
    "retries that are a text": {"headers": {"group": "g", "retries": "many"}},
    "a pickle": {"headers": {"group": "g"}, "content_type": "application/x-python-serialize"},
    "an encoding that nobody knows": {"headers": {"group": "g"}, "content_encoding": "rot26"},
    "an encoding that is a number": {"headers": {"group": "g"}, "content_encoding": 7},
    "a body of one": {"headers": {"group": "g"}, "body": b"[1]"},
    "a body that is no JSON": {"headers": {"group": "g"}, "body": b"\xff{"},
    "kwargs that are a list": {"headers": {"group": "g"}, "body": b"[[], [1], {}]"},
    "a root id that is an object": {"headers": {"group": "g", "root_id": {}, "parent_id": []}},
    "a callback that is a number": {"body": json.dumps([[], {}, EMBEDDED | {"callbacks": [7]}]).encode()},
    "a chain that is a number": {"body": json.dumps([[], {}, EMBEDDED | {"chain": 7}]).encode()},
    "an id with a surrogate": {"headers": {"group": "g", "id": "\ud800"}},
    "a task of Celery's own": {"headers": {"task": "celery.chord_unlock"}},
    "a map over nothing": {"headers": {"task": "celery.map"}, "body": b"[[7, 7], {}, {}]"},
}
"""Messages that go Celery's own way, and are not as it expects them."""


def test_junk_that_goes_celery_s_own_way_does_not_end_a_worker(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    account = bank.open(0)
    node = start_node(servers, concurrency=1)
    deadly_ones = []

    for name, changes in HOSTILE_TO_CELERY.items():
        bank.run.given.redis.lpush("accounts", element(**changes))
        neighbour = deposit(account)
        send(bank, [neighbour])
        wait_for(partial(has_ended_or_died, bank, neighbour, node), 5, node.log)
        if node.process.poll() is not None:
            deadly_ones.append((name, node.log.read_text()[-300:]))
            bank.run.given.redis.flushall()
            node = start_node(servers, concurrency=1)

    assert deadly_ones == []
    assert node.stop() == 0


def has_ended_or_died(bank: Bank, one: Message, node: WorkerNode) -> bool:
    return node.process.poll() is not None or has_ended(bank, one)


# A job that kills its process


def deadly(folder: Path, times: int) -> Message:
    return message("testing.kill", {"path": str(folder / f"deaths-{uuid4()}"), "times": times})


def deaths(one: Message) -> int:
    path = Path(json.loads(one.body)[1]["path"])
    return path.stat().st_size if path.exists() else 0


def push(bank: Bank, messages: list[Message]) -> None:
    """All into one queue, in this order."""
    with bank.run.given.redis.pipeline() as pipe:
        for one in messages:
            pipe.lpush("accounts", envelope(one))
        pipe.execute()


def test_a_job_that_always_kills_its_process_is_parked_after_three_deaths_alone_and_harms_no_neighbour(
    bank: Bank, start_node: StartNode, servers: Urls, tmp_path: Path
) -> None:
    account = bank.open(0)
    poison = deadly(tmp_path, 1_000_000)
    batch = [deadly(tmp_path, 0) for _ in range(50)]  # of its own task, so they share its batch
    neighbours = [deposit(account) for _ in range(950)]
    node = start_node(servers)

    push(bank, [*neighbours[:475], *batch[:25], poison, *batch[25:], *neighbours[475:]])
    wait_for(lambda: has_ended(bank, poison, *batch, *neighbours), 20)

    assert [(row.task, row.data["code"]) for row in parked(bank)] == [("testing.kill", "poison")]
    assert deaths(poison) == 1 + 3  # in the batch, and alone
    assert bank.balance(account) == 950
    assert node.stop() == 0


def test_a_job_that_always_kills_its_process_is_parked_also_when_postgresql_is_away_meanwhile(
    own_bank: Bank, own_servers: Stack, start_node: StartNode, tmp_path: Path
) -> None:
    account = own_bank.open(0)
    poison = deadly(tmp_path, 1_000_000)
    node = start_node(own_servers.urls)

    push(own_bank, [poison])
    wait_for(lambda: deaths(poison) >= 2, 10)
    own_servers.postgres.kill()
    own_servers.postgres.start()
    wait_for(lambda: has_ended(own_bank, poison), 15)
    in_time(own_bank, account, 2)

    assert [row.data["code"] for row in parked(own_bank)] == ["poison"]
    assert deaths(poison) == 1 + 3
    assert node.stop() == 0


# Pausing and idling


def test_a_paused_queue_keeps_its_messages_while_others_go_on_and_starts_at_once_when_resumed(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    account = bank.open(0)
    node = start_node(servers)
    redis = bank.run.given.redis
    queues = Queues(redis)
    jobs = [deposit(account) for _ in range(20)]

    queues.pause("accounts")
    send(bank, jobs)
    for _ in range(3):
        run_soon(bank, message("users.create", {"name": "Ada", "email": f"{uuid4()}@example.org"}), 1)
    kept = redis.llen("accounts")
    queues.resume("accounts")
    began = time.monotonic()
    wait_for(lambda: has_ended(bank, *jobs), 1)
    resumed_s = time.monotonic() - began

    tell(f"resumed after {resumed_s:.3f} s")
    assert kept == 20
    assert resumed_s <= 0.5
    assert node.stop() == 0


def test_an_idle_node_asks_redis_for_little(bank: Bank, start_node: StartNode, servers: Urls) -> None:
    node = start_node(servers, TRIVET_LEASE_S="15")
    in_time(bank, bank.open(0), 2)

    commands: Counter[str] = Counter()
    redis: Any = bank.run.given.redis
    before = processed(redis)
    with redis.monitor() as monitor:
        limit = time.monotonic() + 5
        for seen in monitor.listen():
            if time.monotonic() > limit:
                break
            if seen["client_type"] != "lua":
                commands[re.split(r"\W", seen["command"])[0]] += 1
    with_scripts = processed(bank.run.given.redis) - before

    tell(f"in 5 s {commands.total()} requests {dict(commands)}, and with what scripts do {with_scripts}")
    assert commands.total() / 5 <= 6
    assert node.stop() == 0


def processed(redis: Any) -> int:
    return int(redis.info("stats")["total_commands_processed"])


# Remote control


def test_a_plain_celery_app_controls_a_node(bank: Bank, start_node: StartNode, servers: Urls) -> None:
    account = bank.open(0)
    node = start_node(servers, concurrency=1)

    with plain_app(servers) as app:
        (pong,) = app.control.ping(timeout=10, limit=1)
        stats = app.control.inspect(timeout=10, limit=1).stats()
        app.control.pool_grow(1, reply=True, timeout=2)
        wait_for(lambda: len(node.pool_pids()) == 2, 5)
        run_soon(bank, deposit(account), 2)
        app.control.pool_shrink(1, reply=True, timeout=2)
        wait_for(lambda: len(node.pool_pids()) == 1, 5)
        run_soon(bank, deposit(account), 2)
        jobs = [deposit(account) for _ in range(2_000)]
        send(bank, jobs)
        app.control.shutdown()
    exit_code = node.process.wait(45)
    redis: Any = bank.run.given.redis

    assert list(pong.values()) == [{"ok": "pong"}]
    assert [each["pool"]["max-concurrency"] for each in stats.values()] == [1]
    assert exit_code == 0
    assert left_in_redis(redis) == set()
    start_node(servers)
    wait_for(lambda: has_ended(bank, *jobs), 15)
    assert bank.balance(account) == 2_002
