"""`trivet flower`: it comes up, asks for the login, shows our jobs as tasks, and tells no secret."""

import re
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from celery import Celery

from tests.fixtures.command_line import Run
from tests.fixtures.flower import LOGIN, PASSWORD, USER, FlowerPage, StartFlower
from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode, wait_for
from worker.operations.embedded import Urls

PATHS = ("/", "/workers", "/workers?json=1", "/tasks", "/broker", "/metrics", "/login", "/nowhere")
API = ("/api/workers", "/api/tasks", "/api/task/types", "/api/queues/length")
SECRET = "canary-redis-5d2e"  # noqa: S105 - of a server that lives as long as the test


def with_password(bank: Bank, servers: Urls) -> dict[str, str]:
    """A user of Redis that may do everything, with a password; and how a process is told of it."""
    redis: Any = bank.run.given.redis
    redis.acl_setuser("flo", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], channels=["*"], commands=["+@all"])
    return {"TRIVET_REDIS_URL": servers.redis.replace("redis://", f"redis://flo:{SECRET}@")}


def test_flower_asks_for_its_login_shows_what_became_of_jobs_and_tells_no_secret(
    bank: Bank, start_node: StartNode, start_flower: StartFlower, servers: Urls
) -> None:
    given = with_password(bank, servers)
    node = start_node(servers, "--queues=users,accounts", "-E", **given, TRIVET_LEASE_S="15")
    flower = start_flower(**given, **LOGIN)
    email, canary = f"{uuid4()}@example.org", "canary-payload-61f0"

    wait_for(lambda: len(flower.get("/api/workers").json) == 1)
    with Celery(broker=servers.redis, set_as_current=False) as client:
        first, second = (
            client.send_task("users.create", kwargs={"name": canary, "email": email}, queue="users").id
            for _ in range(2)
        )
        client.send_task("posts.create", kwargs={"title": canary}, queue="posts", priority=9)
    wait_for(lambda: {task["state"] for task in flower.tasks().values()} == {"SUCCESS", "FAILURE"})
    tasks = flower.tasks()
    bad, good = sorted((tasks[first], tasks[second]), key=lambda task: str(task["state"]))

    assert set(tasks) == {first, second}
    assert [bad["exception"], good["exception"]] == ["JobRejected('email_taken')", None]
    for task in (good, bad):
        assert (task["name"], task["args"], task["kwargs"]) == ("users.create", "()", "{...}")
        assert task["received"] <= task["started"] <= task["timestamp"]
        assert task["runtime"] > 0
        assert task["worker"] == flower.worker
    waiting = {queue["name"]: queue for queue in flower.get("/api/queues/length").json["active_queues"]}
    assert (waiting["posts"]["messages"], waiting["posts"]["consumers"]) == (1, 0)
    assert (waiting["users"]["messages"], waiting["users"]["consumers"]) == (0, 1)
    paths = [*PATHS, *API, f"/worker/{quote(flower.worker)}", f"/task/{first}", f"/api/task/info/{second}"]
    assert_closed(flower, paths)
    seen = "".join(flower.get(path).text for path in paths)
    assert "flo:***@" in seen
    for secret in (SECRET, PASSWORD, canary, email, password_of(servers.postgres)):
        assert secret not in seen
        assert secret not in flower.log.read_text()
    assert len(bank.run.given.redis.smembers("trivet:nodes")) == 1  # Flower is none
    flower.process.terminate()
    assert flower.process.wait(10) == 0
    assert node.stop() == 0


def assert_closed(flower: FlowerPage, paths: list[str]) -> None:
    for login in ("", f"{USER}:wrong", f"{USER}:ü"):
        assert {flower.get(path, login).status for path in [*paths, "/static/js/flower.js"]} == {401}
    assert flower.get("/healthcheck", login="").text == "OK"


def password_of(url: str) -> str:
    found = re.search(r"://[^:]+:([^@]+)@", url)
    assert found is not None
    return found[1]


def test_without_a_login_flower_only_looks_from_this_machine(
    bank: Bank, start_flower: StartFlower, trivet: Run
) -> None:
    flower = start_flower(TRIVET_FLOWER_USER="", FLOWER_UNAUTHENTICATED_API="true")

    assert [flower.get(path, login="").status for path in ("/workers", "/tasks", "/broker")] == [200] * 3
    assert {flower.get(path, login="").status for path in API} == {403}
    assert flower.get("/tasks", login="", Host="example.org").status == 403
    assert flower.post("/api/task/revoke/x").status == 403
    elsewhere = trivet("flower", "--address", "0.0.0.0")  # noqa: S104 - it is refused
    assert elsewhere.returncode == 1
    assert elsewhere.stderr == (
        "trivet: without a login Flower listens on localhost only: set TRIVET_FLOWER_USER and"
        " TRIVET_FLOWER_PASSWORD for --address 0.0.0.0\n"
    )


def test_production_refuses_flower_without_a_login(trivet: Run) -> None:
    done = trivet("flower", TRIVET_ENV="production")

    assert done.returncode == 1
    assert done.stderr.startswith("trivet: TRIVET_FLOWER_USER and TRIVET_FLOWER_PASSWORD are not set: ")
    assert done.stderr.count("\n") == 1
