"""`trivet demo`: it ends well on real servers, and tells of every damage that is done to what it left."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.nodes import wait_for
from worker.operations import embedded
from worker.operations.demo.books import read_books
from worker.operations.demo.checking import mismatches
from worker.operations.demo.errors import DemoFailed
from worker.operations.demo.planning import plan_workload
from worker.operations.demo.slices import ORDER
from worker.operations.demo.stores import Stores, demo_urls
from worker.operations.demo.watching import Watch
from worker.operations.demo.workload import Workload
from worker.operations.embedded import Options
from worker.operations.programs import Program, trivet

JOBS, SEED = 300, 6


@dataclass(frozen=True)
class Demo:
    """A demo that has been run on servers that stay up."""

    ran: "subprocess.CompletedProcess[str]"
    stores: Stores
    workload: Workload

    def mismatches(self) -> list[str]:
        return mismatches(self.workload, read_books(self.stores, self.workload.jobs))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo") / "servers"
    try:
        with embedded.running_servers(folder, Options(durable=False)) as urls:
            command = trivet("demo", f"--jobs={JOBS}", f"--seed={SEED}", "--json", f"--folder={folder}")
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            with Stores.open(demo_urls(urls)) as stores:
                yield Demo(ran, stores, plan_workload(JOBS, SEED))
    finally:
        embedded.erase(folder)


def test_everything_adds_up_and_stdout_holds_the_summary_alone(demo: Demo) -> None:
    assert demo.ran.returncode == 0, demo.ran.stderr
    summary = json.loads(demo.ran.stdout)

    assert summary["ok"] is True
    assert summary["mismatches"] == []
    assert summary["jobs"]["accepted"] == JOBS
    assert summary["jobs"]["succeeded"] + summary["jobs"]["rejected"] == JOBS
    assert summary["jobs"]["parked"] == summary["balance_drift"] == summary["ledger_sum"] == summary["owed"] == 0
    assert summary["events"] == JOBS + summary["conflicts"]
    mongo = demo.stores.mongo
    live = {"deleted": False}
    assert summary["documents"] == sum(mongo[name].count_documents(live) for name in mongo.list_collection_names())
    assert f"{JOBS}/{JOBS}" in demo.ran.stderr


def test_the_summary_has_a_line_for_each_slice(demo: Demo) -> None:
    summary = json.loads(demo.ran.stdout)
    slices = summary["slices"]

    assert list(slices) == list(ORDER)
    assert all(one["ok"] and one["succeeded"] for one in slices.values())
    for end in ("succeeded", "rejected", "parked"):
        assert sum(one[end] for one in slices.values()) == summary["jobs"][end]
    served = slices["sessions"]["copies"]
    assert served == len(demo.stores.redis.keys("session:*"))
    assert sum(one["copies"] for one in slices.values()) == summary["documents"] + served


@contextmanager
def a_balance_altered(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        last = "SELECT max(id::text)::uuid FROM accounts"
        stores.postgres.execute(f"UPDATE accounts SET balance = balance + 1 WHERE id = ({last})")  # noqa: S608 - ours
        yield


@contextmanager
def an_entry_altered(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        # As a replica: the trigger that keeps the entries does not fire.
        stores.postgres.execute("SET LOCAL session_replication_role = replica")
        first = "SELECT min(id) FROM ledger_entries"
        stores.postgres.execute(f"UPDATE ledger_entries SET amount = amount + 5 WHERE id = ({first})")  # noqa: S608 - ours
        yield


@contextmanager
def a_job_unended(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        last = "SELECT max(id::text)::uuid FROM trivet.jobs WHERE state = 'succeeded'"
        stores.postgres.execute(f"UPDATE trivet.jobs SET state = 'retrying' WHERE id = ({last})")  # noqa: S608 - ours
        yield


@contextmanager
def a_job_lost(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        stores.postgres.execute("DELETE FROM trivet.jobs WHERE id = (SELECT max(id::text)::uuid FROM trivet.jobs)")
        yield


@contextmanager
def a_receipt_deleted(stores: Stores) -> Iterator[None]:
    receipt = stores.mongo.receipts.find_one_and_delete({})
    assert receipt is not None
    yield
    stores.mongo.receipts.insert_one(receipt)


@contextmanager
def a_user_document_changed(stores: Stores) -> Iterator[None]:
    user = stores.mongo.users.find_one_and_update({}, {"$set": {"name": "Eve"}})
    assert user is not None
    yield
    stores.mongo.users.replace_one({"_id": user["_id"]}, user)


@contextmanager
def a_post_removed(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        stores.postgres.execute("DELETE FROM posts WHERE id = (SELECT max(id::text)::uuid FROM posts)")
        yield


@contextmanager
def a_body_changed(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        first = "SELECT min(id) FROM documents WHERE body IS NOT NULL"
        stores.postgres.execute(f"UPDATE documents SET body = '{{}}' WHERE id = ({first})")  # noqa: S608 - ours
        yield


@contextmanager
def a_notification_unread(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        first = "SELECT min(id::text)::uuid FROM notifications WHERE read_at IS NOT NULL"
        stores.postgres.execute(f"UPDATE notifications SET read_at = NULL WHERE id = ({first})")  # noqa: S608 - ours
        yield


@contextmanager
def a_session_served_no_more(stores: Stores) -> Iterator[None]:
    key = min(stores.redis.scan_iter("session:*"))
    kept: Any = stores.redis.dump(key)
    stores.redis.delete(key)
    yield
    stores.redis.restore(key, 3_600_000, kept)


@contextmanager
def a_revoked_session_served(stores: Stores) -> Iterator[None]:
    with stores.postgres.transaction(force_rollback=True):
        one = "SELECT max(token_hash) FROM users_sessions WHERE revoked_at IS NULL"
        stores.postgres.execute(f"UPDATE users_sessions SET revoked_at = now() WHERE token_hash = ({one})")  # noqa: S608 - ours
        yield


@contextmanager
def an_event_dropped(stores: Stores) -> Iterator[None]:
    with events_kept(stores) as entries:
        stores.redis.xdel("events", next(key for key, event in entries if "idempotency_conflict" not in event))
        yield


@contextmanager
def an_event_twice_under_two_ids(stores: Stores) -> Iterator[None]:
    with events_kept(stores) as entries:
        event = json.loads(entries[0][1]) | {"id": "another", "sequence": 10**9}
        stores.redis.xadd("events", {"event": json.dumps(event)})
        yield


@contextmanager
def events_kept(stores: Stores) -> Iterator[list[tuple[bytes, str]]]:
    stores.redis.copy("events", "kept")
    entries: Any = stores.redis.xrange("events")
    yield [(key, fields[b"event"].decode()) for key, fields in entries]
    stores.redis.rename("kept", "events")


Damage = Callable[[Stores], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (a_balance_altered, ["balance_drift is 1:", "another balance than what was sent comes to"]),
        (an_entry_altered, ["ledger_sum is 5:", "not two entries that sum to zero"]),
        (a_job_unended, ["jobs came to another end than they must", "have no completion event"]),
        (a_job_lost, ["accepted jobs are not in the ledger", "events tell of an end that no job came to"]),
        (a_receipt_deleted, ["1 documents are missing in receipts"]),
        (a_user_document_changed, ["1 documents in users differ from their rows"]),
        (a_post_removed, ["1 posts are missing", "1 documents in posts have no row"]),
        (a_body_changed, ["hold something else than was put", "1 documents in documents.* differ from their rows"]),
        (a_notification_unread, ["1 notifications are read, or not, against what was said"]),
        (a_session_served_no_more, ["1 sessions are not served by Redis"]),
        (a_revoked_session_served, ["1 sessions are missing", "1 keys session:* serve a session that is over"]),
        (an_event_dropped, ["1 ended jobs have no completion event"]),
        (an_event_twice_under_two_ids, ["1 jobs have more than one completion event"]),
    ],
)
def test_a_damage_is_named(demo: Demo, damage: Damage, named: list[str]) -> None:
    assert demo.mismatches() == []

    with damage(demo.stores):
        found = "\n".join(demo.mismatches())

    assert [name for name in named if name not in found] == []


def test_what_beat_enqueues_meanwhile_is_no_part_of_the_workload(demo: Demo) -> None:
    stores, job = demo.stores, "maintenance.expire_holds"
    before = read_books(stores, demo.workload.jobs)

    with stores.postgres.transaction(force_rollback=True), events_kept(stores):
        stores.postgres.execute(
            "INSERT INTO trivet.jobs (id, task, task_id, state, deadline)"
            " VALUES (gen_random_uuid(), %s, 'a tick', 'accepted', now())",
            (job,),
        )
        event = {"id": "1", "jobid": str(uuid4()), "type": f"{job}.succeeded", "data": None}
        stores.redis.xadd("events", {"event": json.dumps(event)})
        meanwhile, found = read_books(stores, demo.workload.jobs), demo.mismatches()

    assert (meanwhile, found) == (before, [])


@pytest.mark.parametrize(
    ("words", "then", "patience_s", "told"),
    [
        ("I give up", "exit 3", 30, "the worker ended by itself, with exit code 3"),
        ("I wait", "sleep 60", 0.3, "no progress for 0 s (300 of 300 jobs ended, 0 queued, 0 owed)"),
    ],
)
def test_a_worker_that_dies_or_hangs_ends_the_demo_with_its_last_words(
    demo: Demo, tmp_path: Path, words: str, then: str, patience_s: float, told: str
) -> None:
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = Program("worker", ("/bin/sh", "-c", f"echo {words}; {then}")).start(output)
    wait_for(lambda: log.stat().st_size > 0)
    watch = Watch(demo.stores, demo.workload, worker, log, lambda _: None, patience_s)

    with pytest.raises(DemoFailed) as failed:
        watch.until_ended(JOBS + 1)
    worker.end(0)

    assert told in str(failed.value)
    assert f"    {words}" in str(failed.value)
