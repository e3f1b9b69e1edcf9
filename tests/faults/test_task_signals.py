"""Which of Celery's signals are sent for jobs, in which process, and when: the table in the documentation."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import StartNode, WorkerNode, wait_for
from worker.envelopes import envelope, queue_of
from worker.operations.embedded import Urls


class Heard:
    """What the receivers of `tests.fixtures.receivers` wrote down."""

    def __init__(self, path: Path, node: WorkerNode) -> None:
        self._path = path
        self.node = node

    def all(self) -> list[dict[str, Any]]:
        """Every call of a receiver, in order."""
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    def of(self, task_id: str) -> list[tuple[str, str]]:
        """The signals of a task, each with the process that sent it."""
        return [(each["signal"], self._where(each["pid"])) for each in self.all() if each["id"] == task_id]

    def once(self, task_id: str, signal: str) -> dict[str, Any]:
        """The one call for this task and signal."""
        (found,) = (each for each in self.all() if (each["id"], each["signal"]) == (task_id, signal))
        return found

    def processes(self) -> set[tuple[str, str]]:
        """The signals that tell of processes, with the kind of process."""
        return {(each["signal"], self._where(each["pid"])) for each in self.all() if not each["id"]}

    def _where(self, pid: int) -> str:
        return "main" if pid == self.node.pid else "pool"


@pytest.fixture
def heard(bank: Bank, start_node: StartNode, servers: Urls, tmp_path: Path) -> Heard:
    """A node with a receiver for each of Celery's task signals."""
    path = tmp_path / "signals"
    program = {"program": "tests.fixtures.receivers", "SIGNALS": str(path)}
    node = start_node(servers, "--queues=accounts,users,testing", TRIVET_LEASE_S="15", **program)
    return Heard(path, node)


@pytest.fixture
def client(servers: Urls) -> Iterator[Celery]:
    """A Celery client that knows nothing of this package."""
    with closing(Celery(broker=servers.redis, set_as_current=False)) as app:
        yield app


def signals(last: str) -> list[tuple[str, str]]:
    """What is sent for a job in a batch that ends like this."""
    return [("task_received", "main"), ("task_prerun", "pool"), (last, "pool"), ("task_postrun", "pool")]


def test_jobs_in_batches_send_celerys_task_signals(
    bank: Bank, client: Celery, heard: Heard, tmp_path: Path
) -> None:
    account = str(bank.open(0))
    deposit = {"account": account, "amount": 1}
    transfer = {"source": account, "target": account, "amount": 1}
    fail = message("testing.fail", {"path": str(tmp_path / "fails"), "times": 1})
    unknown = message("accounts.abolish", deposit)

    succeeded = client.send_task("accounts.deposit", kwargs=deposit, queue="accounts").id
    rejected = client.send_task("accounts.transfer", kwargs=transfer, queue="accounts").id
    revoked = client.send_task("accounts.deposit", kwargs=deposit, queue="accounts", countdown=3).id
    client.control.revoke(revoked, reply=True)
    for one in (fail, unknown):
        bank.run.given.redis.lpush(queue_of(one.task), envelope(one))
    wait_for(lambda: heard.of(revoked) == signals("task_revoked"))
    wait_for(lambda: heard.of(fail.task_id) == signals("task_retry") + signals("task_success"))

    assert heard.of(succeeded) == signals("task_success")
    assert heard.of(rejected) == signals("task_failure")
    assert heard.of(unknown.task_id) == [("task_received", "main")]
    assert heard.once(succeeded, "task_prerun")["kwargs"] == deposit
    assert heard.once(succeeded, "task_prerun")["sender"] == "accounts.deposit"
    assert heard.once(succeeded, "task_postrun")["state"] == "SUCCESS"
    assert heard.once(rejected, "task_failure")["exception"] == "JobRejected('same_account')"
    assert heard.once(rejected, "task_postrun")["state"] == "FAILURE"
    assert heard.once(revoked, "task_postrun")["state"] == "REVOKED"


def test_special_messages_send_each_signal_once(client: Celery, heard: Heard) -> None:
    follower = client.signature("users.create", kwargs={"name": "B", "email": "b@example.org"}, immutable=True)
    payload = {"name": "A", "email": "a@example.org"}

    options: dict[str, Any] = {"queue": "users", "link": follower.set(queue="users")}
    special = client.send_task("users.create", kwargs=payload, **options).id
    wait_for(lambda: len(heard.of(special)) >= 4)
    wait_for(lambda: len({each["id"] for each in heard.all() if each["signal"] == "task_success"}) == 2)
    assert heard.node.stop() == 0

    assert sorted(heard.of(special)) == sorted(signals("task_success"))


def test_signals_of_processes_are_celerys(heard: Heard) -> None:
    assert heard.node.stop() == 0

    assert heard.processes() >= {
        ("celeryd_init", "main"),
        ("worker_init", "main"),
        ("worker_ready", "main"),
        ("worker_process_init", "pool"),
        ("worker_shutting_down", "main"),
        ("worker_shutdown", "main"),
    }
