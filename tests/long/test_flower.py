"""The buttons of Flower, by the calls that they make, and Flower while Redis is away."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, signature

from tests.fixtures.command_line import Run
from tests.fixtures.flower import LOGIN, FlowerPage, StartFlower, spawn_flower
from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import StartNode, WorkerNode, spawn_node, wait_for
from tests.fixtures.watching import switch_on
from worker.envelopes import envelope
from worker.operations.embedded import Stack, Urls

QUEUES = "--queues=users,accounts,maintenance"
SECRET = "canary-beat-77aa"  # noqa: S105 - of no server


@pytest.fixture
def node(bank: Bank, start_node: StartNode, servers: Urls) -> WorkerNode:
    return start_node(servers, QUEUES, "-E", TRIVET_LEASE_S="15")


@pytest.fixture
def flower(node: WorkerNode, start_flower: StartFlower) -> FlowerPage:
    flower = start_flower()
    wait_for(lambda: len(flower.get("/api/workers").json) == 1)
    return flower


def send(servers: Urls, task: str, payload: dict[str, Any], **options: Any) -> str:
    with Celery(broker=servers.redis, set_as_current=False) as client:
        return str(client.send_task(task, kwargs=payload, queue=task.partition(".")[0], **options).id)


def state_of(flower: FlowerPage, task_id: str) -> object:
    return flower.tasks().get(task_id, {}).get("state")


def test_a_waiting_job_is_revoked_and_one_that_runs_with_others_is_not_killed(
    bank: Bank, flower: FlowerPage, servers: Urls
) -> None:
    slow = message("testing.wait", {"seconds": 4})
    account = str(bank.open(0))
    later = send(servers, "accounts.deposit", {"account": account, "amount": 1}, countdown=8)
    bank.run.given.redis.lpush("maintenance", envelope(slow))
    wait_for(lambda: (state_of(flower, later), state_of(flower, slow.task_id)) == ("RECEIVED", "STARTED"))

    revoked = flower.post(f"/api/task/revoke/{later}")
    refused = flower.post(f"/api/task/revoke/{slow.task_id}", terminate="true")
    wait_for(lambda: (state_of(flower, later), state_of(flower, slow.task_id)) == ("REVOKED", "SUCCESS"))

    assert (revoked.status, revoked.json) == (200, {"message": f"Revoked '{later}'"})
    assert refused.status == 409
    assert f"run in batches with others: {slow.task_id}" in refused.text
    assert bank.value("SELECT data->>'code' FROM trivet.jobs WHERE task_id = :id", id=later) == "revoked"


def test_pool_and_queues_follow_the_buttons_and_what_would_have_no_effect_is_refused(
    flower: FlowerPage, node: WorkerNode, servers: Urls
) -> None:
    name = flower.worker
    at = {"workername": name}

    assert flower.post(f"/api/worker/pool/grow/{name}", n=1).status == 200
    wait_for(lambda: len(node.pool_pids()) == 3)
    assert flower.post(f"/api/worker/pool/shrink/{name}", n=2).status == 200
    wait_for(lambda: len(node.pool_pids()) == 1)
    assert "1 processes, and one must stay" in flower.post(f"/api/worker/pool/shrink/{name}", n=1).text
    assert flower.post(f"/api/worker/queue/add-consumer/{name}", queue="posts").status == 200
    search = send(servers, "posts.search", {})
    wait_for(lambda: state_of(flower, search) == "SUCCESS")
    limit = flower.post("/api/task/rate-limit/users.create", ratelimit="5/m", **at)
    timeout = flower.post("/api/task/timeout/users.create", soft=5, **at)
    assert (limit.status, timeout.status) == (403, 403)
    assert "declare @job(limit=RateLimit(...))" in limit.text
    assert "a batch as a whole may take 120 s" in timeout.text
    assert flower.post("/api/task/rate-limit/celery.backend_cleanup", ratelimit="5/m", **at).status == 200
    assert "not enabled" in flower.post(f"/api/worker/pool/restart/{name}").text
    assert "not enabled" in flower.post(f"/api/worker/pool/autoscale/{name}", min=1, max=2).text

    assert flower.post(f"/api/worker/shutdown/{name}").status == 200
    assert node.process.wait(45) == 0
    assert flower.post("/api/task/revoke/x").status == 503


def test_whoever_may_only_look_presses_no_button(node: WorkerNode, start_flower: StartFlower) -> None:
    flower = start_flower("--read-only", **LOGIN)
    wait_for(lambda: len(flower.get("/api/workers").json) == 1)

    assert flower.post(f"/api/worker/shutdown/{flower.worker}").status == 403
    assert flower.post("/api/task/revoke/x").status == 403
    assert flower.post("/api/task/send-task/users.list").status == 403


def test_a_job_with_a_callback_shows_no_letter_of_its_result(flower: FlowerPage, servers: Urls) -> None:
    with Celery(broker=servers.redis, set_as_current=False) as client:
        follower = signature("users.list", app=client, immutable=True).set(queue="users")
        payload = {"name": "Ada", "email": f"{uuid4()}@example.org"}
        special = send(servers, "users.create", payload, link=follower)
    wait_for(lambda: state_of(flower, special) == "SUCCESS")

    task = flower.tasks()[special]

    assert (task["args"], task["kwargs"], task["result"]) == ("()", "{...}", "{...}")


def test_no_answer_of_a_worker_holds_the_password_of_any_url(
    bank: Bank, start_node: StartNode, servers: Urls
) -> None:
    url = f"redis://:{SECRET}@example.org/1"
    settings = json.dumps({"redbeat_redis_url": url, "broker_failover": {"others": [url]}})
    start_node(servers, program="tests.fixtures.configured", TEST_CELERY_SETTINGS=settings)

    with Celery(broker=servers.redis, set_as_current=False) as client:
        inspect = client.control.inspect(timeout=10, limit=1)
        answers = [inspect.conf(), inspect.stats(), inspect.report()]

    assert all(answers)
    assert "redis://:***@example.org/1" in repr(answers[0])
    assert SECRET not in repr(answers)


def test_flower_leaves_task_events_alone_when_it_is_told_to(
    bank: Bank, start_node: StartNode, start_flower: StartFlower, servers: Urls
) -> None:
    start_node(servers, QUEUES, TRIVET_LEASE_S="15")
    quiet = start_flower("--no-enable-events", **LOGIN)

    unseen = send(servers, "users.list", {})
    wait_for(lambda: bank.rows("SELECT FROM trivet.jobs WHERE task_id = :id", id=unseen))
    # Its end is told after its commit, once the node has acknowledged its message.
    wait_for(lambda: not [*bank.run.given.redis.scan_iter("trivet:held*")])
    with Celery(broker=servers.redis, set_as_current=False) as client:
        switch_on(client)  # says that they were off
    seen = send(servers, "users.list", {})
    wait_for(lambda: state_of(quiet, seen) == "SUCCESS")

    assert set(quiet.tasks()) == {seen}


def test_flower_finds_redis_again_and_ends_while_it_is_away(
    own_servers: Stack, tmp_path: Path, trivet: Run
) -> None:
    redis = next(server for server in own_servers.servers if server.name == "redis")
    with ExitStack() as running:
        assert trivet("migrate", **own_servers.urls.environment()).returncode == 0
        node = spawn_node(running, own_servers.urls, tmp_path, QUEUES, TRIVET_LEASE_S="15")
        node.wait_ready()
        flower = spawn_flower(running, own_servers.urls, tmp_path, environment=LOGIN)

        redis.kill()
        own_servers.start()
        jobs = []

        def seen() -> bool:
            jobs.append(send(own_servers.urls, "users.list", {}))
            return "SUCCESS" in {state_of(flower, job) for job in jobs}

        wait_for(seen, 90, flower.log)
        redis.kill()
        flower.process.terminate()

        assert flower.process.wait(15) == 0


def test_a_taken_port_is_told_in_one_line(trivet: Run, servers: Urls) -> None:
    taken = servers.redis.rpartition(":")[2].partition("/")[0]

    done = trivet("flower", "--port", taken)

    assert done.returncode == 1
    assert done.stderr.startswith(f"trivet: Flower cannot listen on 127.0.0.1:{taken}: ")
    assert done.stderr.count("\n") == 1
