"""Trivet on the stores as compose runs them: each process as its own user, and none is denied what it needs."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from celery import Celery
from redis import Redis

from tasks import users
from tests.fixtures.beats import StartBeat
from tests.fixtures.deployed import COMPOSE, Deployed
from tests.fixtures.flower import FlowerPage, spawn_flower
from tests.fixtures.nodes import WorkerNode, spawn_node, wait_for
from tests.fixtures.plain_app import plain_app
from worker import producer
from worker.operations.schedule import LEADS, STANDS_BY
from worker.rate_limits import check_rate_limit
from worker.subscriber import Subscriber

ENTRY = "maintenance.expire_holds"
TRIVET = "from worker.operations.cli import main; main()"


@pytest.fixture(scope="module")
def node(migrated: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerNode]:
    """A worker with the URLs that compose gives it, in production."""
    with ExitStack() as running:
        node = spawn_node(
            running, migrated.urls(), tmp_path_factory.mktemp("node"), "--name=worker", TRIVET_ENV="production"
        )
        node.wait_ready(90)
        yield node


@pytest.fixture(autouse=True)
def nobody_is_denied(migrated: Deployed) -> Iterator[None]:
    """Whatever a test does, each user may do all that it asks Redis for."""
    before = migrated.denied()
    yield
    assert migrated.denied() - before == set()


@pytest.fixture
def plain(migrated: Deployed, node: WorkerNode) -> Iterator[Celery]:
    """Somebody's Celery app, as the user `producer`."""
    with plain_app(migrated.urls(redis="producer")) as app:
        yield app


def ask(app: Celery, task: str, **payload: Any) -> Any:
    sent = app.send_task(task, kwargs=payload, queue=task.partition(".")[0], headers={"want_result": True})
    return sent.get(timeout=60)


def trivet(deployed: Deployed, *arguments: str, **users: str) -> str:
    """Run a command with the URLs of these users."""
    environment = deployed.urls(**users).environment() | {"TRIVET_ENV": "production", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", TRIVET, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_jobs_of_every_slice_run_for_a_plain_celery_client(migrated: Deployed, plain: Celery) -> None:
    ada = ask(plain, "users.create", name="Ada", email="ada@example.org")["user"]["id"]
    bob = ask(plain, "users.create", name="Bob", email="bob@example.org", posts=[{"title": "Engines"}])["user"][
        "id"
    ]
    accounts = [
        ask(plain, "accounts.open", owner_id=owner, currency="EUR", opening_balance=500)["account"]["id"]
        for owner in (ada, bob)
    ]
    source, target = accounts
    hold = ask(plain, "accounts.hold", source=source, target=target, amount=20)["hold"]
    post = ask(plain, "posts.create", author_id=ada, title="Notes", published=True)["post"]["id"]
    token = hashlib.sha256(b"token").hexdigest()

    assert ask(plain, "users.get", id=ada)["user"]["name"] == "Ada"
    assert ask(plain, "users.update", id=ada, name="Ada L.")["user"]["name"] == "Ada L."
    assert ask(plain, "users.get", id=ada)["user"]["name"] == "Ada L."
    assert ask(plain, "users.list", active=True)["total"] == 2
    assert ask(plain, "posts.search", published=True)["total"] == 1
    assert ask(plain, "posts.update", id=post, title="More")["post"]["title"] == "More"
    assert ask(plain, "accounts.deposit", account=source, amount=10)["balance"] == 510
    assert ask(plain, "accounts.transfer", source=source, target=target, amount=5)["target_balance"] == 505
    assert (
        ask(plain, "accounts.capture", hold=hold if isinstance(hold, str) else hold["id"])["target_balance"] == 525
    )
    ask(plain, "documents.put", collection="notes", id="one", body={"a": 1})
    ask(plain, "sessions.open", token_hash=token, user_id=ada, ttl_s=60, attributes={})
    ask(plain, "sessions.touch", token_hash=token)
    ask(plain, "sessions.revoke", token_hash=token)
    ask(plain, "notifications.send", user_id=ada, kind="greeting", body="hello")

    late = plain.send_task(
        "users.get", kwargs={"id": ada}, queue="users", countdown=0.2, headers={"want_result": True}
    )
    assert late.get(timeout=60)["user"]["id"] == ada


def test_a_typed_producer_waits_for_results_and_events_and_asks_rate_limits(
    migrated: Deployed, node: WorkerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in migrated.urls().environment():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRIVET_REDIS_URL_FILE", str(url_file(migrated, "producer", node.log.parent)))
    producer.close()
    try:
        told = users.create.enqueue(name="Eve", email="eve@example.org", want_result=True).result(timeout_s=60)
        many = users.list_users.enqueue_many([users.ListUsers()] * 20)
        allowed = check_rate_limit("somebody", limit=1, window_s=60)
        refused = check_rate_limit("somebody", limit=1, window_s=60)
    finally:
        producer.close()

    assert told.user.name == "Eve"
    assert len(many) == 20
    assert (allowed.allowed, refused.allowed) == (True, False)


def url_file(migrated: Deployed, user: str, folder: Path) -> Path:
    file = folder / f"redis_url_{user}"
    file.write_text(migrated.url("redis", user) + "\n")
    return file


def test_events_are_read_and_heard_by_a_subscriber(migrated: Deployed, plain: Celery) -> None:
    url = migrated.url("redis", "subscriber")
    with Redis.from_url(url) as redis, redis.pubsub() as live:
        live.psubscribe("events:*")
        live.subscribe("notifications:1")
        email = f"{uuid4()}@example.org"
        ask(plain, "users.create", name="Sub", email=email)
        wait_for(lambda: (live.get_message(timeout=1) or {}).get("type") == "pmessage", 10)
    wait_for(lambda: any(e.type == "users.create.succeeded" for e in Subscriber(url, follow=False)), 10)
    tailed = trivet(migrated, "events", "tail", "--no-follow", "--json", redis="subscriber", postgres="reader")

    assert {json.loads(line)["type"] for line in tailed.splitlines()} >= {"users.create.succeeded"}


def test_operators_commands_work_as_the_worker_and_enqueueing_as_a_producer(
    migrated: Deployed, node: WorkerNode
) -> None:

    trivet(migrated, "check")
    trivet(migrated, "queues", "pause", "posts")
    assert "paused" in trivet(migrated, "queues", "ls")
    trivet(migrated, "queues", "resume", "posts")
    trivet(migrated, "parked", "ls")
    trivet(migrated, "jobs", "ls")
    payload = json.dumps({"name": "Cli", "email": "cli@example.org"})
    trivet(migrated, "enqueue", "users.create", payload, "--wait", "60", redis="producer", postgres="reader")


def test_the_health_check_of_a_worker_finds_it(migrated: Deployed, node: WorkerNode) -> None:
    _, check = COMPOSE["services"]["worker"]["healthcheck"]["test"]

    done = subprocess.run(
        ["/bin/sh", "-c", check.replace("$$", "$")],
        env=os.environ
        | migrated.urls().environment()
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "pong" in done.stdout


def test_what_a_killed_node_held_is_put_back_by_another(migrated: Deployed, plain: Celery, tmp_path: Path) -> None:
    with ExitStack() as running:
        doomed = spawn_node(running, migrated.urls(), tmp_path, "--queues=documents", TRIVET_ENV="production")
        doomed.wait_ready(90)
        jobs = [
            plain.send_task(
                "documents.put",
                kwargs={"collection": "notes", "id": f"d{number}", "body": {}},
                queue="documents",
                headers={"want_result": True},
            )
            for number in range(200)
        ]
        doomed.kill()

        assert len([job.get(timeout=40) for job in jobs]) == 200


@pytest.fixture
def flower(migrated: Deployed, node: WorkerNode, tmp_path: Path) -> Iterator[FlowerPage]:
    """`trivet flower` with the URLs and the login that compose gives it."""
    login = {"TRIVET_FLOWER_USER": "flower", "TRIVET_FLOWER_PASSWORD": migrated.secret("flower_password")}
    urls = migrated.urls(postgres="reader", mongo="reader", redis="flower")
    with ExitStack() as running:
        started = spawn_flower(running, urls, tmp_path, environment=login | {"TRIVET_ENV": "production"})
        yield replace(started, login=f"flower:{migrated.secret('flower_password')}")


def test_flower_sees_workers_and_tasks_and_revokes(plain: Celery, flower: FlowerPage) -> None:
    wait_for(lambda: "worker@" in flower.get("/api/workers?refresh=1").text, 60, flower.log)
    sent = plain.send_task("users.list", kwargs={}, queue="users", countdown=60)
    wait_for(lambda: sent.id in flower.get("/api/tasks").text, 60, flower.log)
    pages = [flower.get(page) for page in ("/workers", "/tasks", "/metrics")]
    revoked = flower.post(f"/api/task/revoke/{sent.id}")

    assert [page.status for page in pages] == [200] * len(pages)
    assert revoked.status == 200, revoked.text


def test_beats_take_ticks_stand_by_take_over_and_workers_run_the_jobs(
    migrated: Deployed, node: WorkerNode, start_beat: StartBeat, tmp_path: Path
) -> None:
    with psycopg.connect(migrated.url("postgres", "worker")) as connection:
        connection.execute(
            "INSERT INTO trivet.schedules (name, settled_to) VALUES (%s, now() - '1 h'::interval)", (ENTRY,)
        )
    urls = migrated.urls(postgres="beat", redis="beat")
    file = tmp_path / "heartbeat"
    told: dict[str, Any] = {"program": ("-c", TRIVET), "TRIVET_ENV": "production"}

    leader = start_beat(urls, **told)
    leader.wait_said(LEADS)
    other = start_beat(urls, f"--heartbeat={file}", **told)
    other.wait_said(STANDS_BY)
    wait_for(file.exists, 30, other.log)
    codes = [leader.stop()]
    other.wait_said(LEADS)
    codes.append(other.stop())

    assert codes == [0, 0]
    entries = json.loads(trivet(migrated, "schedule", "ls", "--json", postgres="reader"))
    (job,) = (entry["last_job"] for entry in entries if entry["name"] == ENTRY)
    wait_for(lambda: "succeeded" in trivet(migrated, "jobs", "show", job, postgres="reader"), 60)
