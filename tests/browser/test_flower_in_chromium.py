"""What an operator sees of Flower, and what its buttons do, in a real Chromium."""

from typing import Any
from uuid import uuid4

from celery import Celery

from tests.fixtures.chromium import Browser
from tests.fixtures.flower import StartFlower
from tests.fixtures.jobs import Bank
from tests.fixtures.nodes import StartNode, wait_for
from worker.operations.embedded import Urls

CANARY = "canary-name-0c4d"


def test_a_worker_and_what_became_of_jobs_are_seen_and_one_is_revoked(
    bank: Bank, start_node: StartNode, start_flower: StartFlower, browser: Browser, servers: Urls
) -> None:
    start_node(servers, "--queues=users,testing", "--name=first", "-E", TRIVET_LEASE_S="60")
    flower = start_flower()
    wait_for(lambda: len(flower.get("/api/workers").json) == 1)
    email = f"{uuid4()}@example.org"

    with Celery(broker=servers.redis, set_as_current=False) as client:

        def send(task: str, payload: dict[str, Any], **options: Any) -> str:
            return str(client.send_task(task, kwargs=payload, queue=task.partition(".")[0], **options).id)

        ids = [send("users.create", {"name": CANARY, "email": email}) for _ in range(2)]
        later = send("users.create", {"name": CANARY, "email": f"later-{email}"}, countdown=30)
        send("posts.create", {"title": CANARY})
        slow = send("testing.wait", {"seconds": 20})
    wait_for(lambda: {"SUCCESS", "FAILURE", "RECEIVED", "STARTED"} <= states(flower.tasks()))
    failed = next(task_id for task_id in ids if flower.tasks()[task_id]["state"] == "FAILURE")
    seen = []

    browser.open(flower, f"/task/{later}")
    browser.press("task-revoke")
    browser.shows(f"Revoked '{later}'")
    browser.open(flower, f"/task/{slow}")
    browser.press("task-terminate")
    browser.shows("not terminated, for they run in batches with others")
    for path, texts in {
        "/workers": ["first@", "Online"],
        "/tasks": ["SUCCESS", "FAILURE", "JobRejected('email_taken')", "first@", " ms"],
        f"/task/{failed}": ["FAILURE", "()", "{...}", "JobRejected('email_taken')", "Runtime"],
        "/broker": ["redis://", "users", "posts"],
        f"/worker/{flower.worker}": ["Max concurrency", "Processes", "Prefetch Count"],
    }.items():
        browser.open(flower, path)
        browser.shows(*texts)
        browser.take(path.strip("/").partition("/")[0])
        seen.append(browser.driver.page_source)
    wait_for(lambda: flower.tasks()[later]["state"] == "REVOKED", 60)
    browser.open(flower, f"/task/{later}")
    browser.shows("REVOKED")

    assert bank.value("SELECT data->>'code' FROM trivet.jobs WHERE task_id = :id", id=later) == "revoked"
    assert CANARY not in "".join(seen)
    assert email not in "".join(seen)


def test_without_the_login_a_browser_sees_nothing(start_flower: StartFlower, browser: Browser) -> None:
    flower = start_flower()

    browser.driver.get(f"{flower.url}/tasks")

    assert "Task history" not in browser.text
    assert "flower.js" not in browser.driver.page_source


def states(tasks: dict[str, Any]) -> set[str]:
    return {task["state"] for task in tasks.values()}
