"""`trivet enqueue`, as a user runs it, with a real worker on the other side."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.fixtures.nodes import StartNode, WorkerNode, wait_for
from worker.messages import derive_id
from worker.operations.cli.enqueue import NotSent, compose
from worker.operations.embedded import Urls
from worker.operations.embedded.ports import choose
from worker.stores.resources import Resources

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SUCCEEDED, NOT_SENT, TIMED_OUT, ENDED_OTHERWISE = 0, 1, 1, 3
PATIENCE = ("--wait", "30")


@pytest.fixture
def enqueue(servers: Urls, given: Resources) -> Run:
    """Run `trivet enqueue` on empty stores."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", "from worker.operations.cli import main; main()", "enqueue", *arguments],
            env=os.environ | servers.environment() | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


@pytest.fixture
def node(servers: Urls, given: Resources, start_node: StartNode) -> Iterator[WorkerNode]:
    """A worker, ready."""
    node = start_node(servers, concurrency=1)
    yield node
    node.stop()


def user(name: str = "Ada", email: str = "") -> str:
    return json.dumps({"name": name, "email": email or f"{uuid4()}@example.org"})


def waiting(given: Resources, queue: str = "users") -> list[dict[str, dict[str, object]]]:
    """The messages in a queue."""
    return [orjson.loads(raw) for raw in given.redis.lrange(queue, 0, -1)]


def events(given: Resources) -> list[dict[str, Any]]:
    """Everything in the stream, in order."""
    entries: Any = given.redis.xrange("events")
    return [orjson.loads(fields[b"event"]) for _, fields in entries]


# What is sent


def test_without_a_key_a_new_id_is_printed_that_is_task_id_and_job_id(enqueue: Run, given: Resources) -> None:
    done = enqueue("users.create", "-", stdin=user())

    assert done.returncode == SUCCEEDED, done.stderr
    (message,) = waiting(given)
    assert message["headers"]["id"] == str(UUID(done.stdout.strip()))
    assert "idempotency_key" not in message["headers"]


def test_with_a_key_the_derived_id_is_printed_and_the_key_is_sent(enqueue: Run, given: Resources) -> None:
    done = enqueue("users.create", user(), "--key", "Zoë 42", "--json")

    sent = json.loads(done.stdout)
    assert (sent["id"], sent["queue"]) == (str(derive_id("users.create", "Zoë 42")), "users")
    (message,) = waiting(given)
    assert message["headers"]["id"] == sent["task_id"]
    assert message["headers"]["idempotency_key"] == "Zoë 42"


# What is not sent

TRANSFER = {"source": str(UUID(int=1)), "target": str(UUID(int=2)), "amount": 1}


@pytest.mark.parametrize(
    ("task", "payload", "key", "said"),
    [
        ("users.creat", "{}", None, "no task is named users.creat; there is users.create"),
        ("nonsense", "{}", None, "accounts.transfer"),
        ("users.create", "[1]", None, "is not an object"),
        ("users.create", "null", None, "is not an object"),
        ("users.create", '{"name": ', None, "cannot be read: Expecting value"),
        ("users.create", "", None, "cannot be read"),
        ("users.create", "[" * 100_000, None, "cannot be read"),
        ("users.create", '{"name": "Ada"}, {"name": "Eve"}', None, "cannot be read"),
        ("users.create", '{"name": "Ada"}', None, "email: Field required; it takes name, email, posts?"),
        ("users.create", '{"name": "Ada", "email": "a@b.c", "age": 7}', None, "age: Extra inputs"),
        ("users.create", '{"name": "", "email": "a@b.c"}', None, "name: "),
        ("users.create", '{"name": "A\\u0000", "email": "a@b.c"}', None, "name: text with NUL"),
        ("users.create", json.dumps({"name": "x" * 300_000, "email": "a@b.c"}), None, "the payload has 300"),
        ("accounts.transfer", json.dumps(TRANSFER | {"amount": 1.5}), None, "amount: "),
        ("accounts.transfer", json.dumps(TRANSFER | {"amount": 0}), None, "amount: "),
        ("accounts.transfer", '{"source": NaN}', None, "source: a number must be finite"),
        ("accounts.transfer", json.dumps(TRANSFER), "", "idempotency_key: "),
        ("accounts.transfer", json.dumps(TRANSFER), "k" * 513, "idempotency_key: "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_worker_would_refuse_is_not_made_and_the_reason_names_the_field(
    task: str, payload: str, key: str | None, said: str
) -> None:
    with pytest.raises(NotSent) as refused:
        compose(task, payload.encode(), key)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(NotSent, match="cannot be read"):
        compose("users.create", b'{"name": "\xff"}', None)


def test_what_is_refused_is_one_line_on_stderr_and_nothing_is_sent(enqueue: Run, given: Resources) -> None:
    done = enqueue("users.create", '{"name": "Ada"}')

    assert (done.returncode, done.stdout) == (NOT_SENT, "")
    assert done.stderr == "trivet: users.create was not sent: email: Field required; it takes name, email, posts?\n"
    assert given.redis.dbsize() == 0


@pytest.mark.parametrize("options", [(), ("--wait", "5")])
def test_a_redis_that_is_away_is_said_in_one_line(enqueue: Run, options: tuple[str, ...]) -> None:
    done = enqueue("users.create", user(), *options, TRIVET_REDIS_URL=f"redis://u:canary@127.0.0.1:{choose()}/0")

    assert done.returncode == NOT_SENT
    assert done.stderr.startswith("trivet: Redis: ")
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr


# What becomes of it


def test_waiting_tells_the_event_of_a_new_job_and_what_became_of_a_repeated_one(
    enqueue: Run, given: Resources, node: WorkerNode
) -> None:
    payload = user()

    first = enqueue("users.create", payload, "--key", "ada", *PATIENCE, "--json")
    again = enqueue("users.create", payload, "--key", "ada", *PATIENCE, "--json")

    assert (first.returncode, again.returncode) == (SUCCEEDED, SUCCEEDED), first.stderr + again.stderr
    told = json.loads(first.stdout)
    assert told["type"] == "users.create.succeeded"
    assert given.documents.users.find_one({"_id": told["jobid"]})
    wait_for(lambda: not given.redis.exists("users"))
    assert events(given) == [told]
    assert json.loads(again.stdout) == {name: value for name, value in told.items() if name != "sequence"}


def test_what_ends_otherwise_is_shown_and_is_no_success(enqueue: Run, given: Resources, node: WorkerNode) -> None:
    enqueue("users.create", user("Ada", "ada@example.org"), "--key", "ada", *PATIENCE)

    taken = enqueue("users.create", user("Eve", "ada@example.org"), *PATIENCE)
    conflicts = [
        enqueue("users.create", user("Eve", "eve@example.org"), "--key", "ada", *PATIENCE, "--json")
        for _ in range(2)
    ]

    assert (taken.returncode, taken.stderr) == (ENDED_OTHERWISE, "")
    assert "users.create.rejected" in taken.stdout
    assert "email_taken" in taken.stdout
    assert [conflict.returncode for conflict in conflicts] == [ENDED_OTHERWISE] * 2
    first, repeated = (json.loads(conflict.stdout) for conflict in conflicts)
    assert first in events(given)
    assert first["data"]["code"] == "idempotency_conflict"
    assert repeated == {name: value for name, value in first.items() if name != "sequence"} | {
        "time": repeated["time"]
    }


def test_a_job_that_does_not_end_in_time_says_where_to_look(enqueue: Run, given: Resources) -> None:
    done = enqueue("users.create", user(), "--key", "ada", "--wait", "0.3")

    assert done.returncode == TIMED_OUT
    assert done.stdout == ""
    assert f"trivet jobs show {derive_id('users.create', 'ada')}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(waiting(given)) == 1
