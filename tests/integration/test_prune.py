"""What the retention has passed is forgotten, and nothing else; what is gone stays gone."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.fixtures.copies import documents_read
from tests.fixtures.jobs import Bank, Runner, message
from worker.delivery import documents
from worker.delivery.copies import Copies
from worker.delivery.due import TURN_ROWS
from worker.delivery.effects import DocumentChange
from worker.execution import batch

KEPT = 3
"""How many events the stream of these tests keeps, and so how many jobs stay whatever their age."""


@pytest.fixture
def old(bank: Bank) -> Iterator[Bank]:
    """A bank whose stream of events is short."""
    settings = bank.run.given.settings.model_copy(update={"events_maxlen": KEPT})
    runner = Runner(replace(bank.run.given, settings=settings))
    yield Bank(runner)
    runner.node.close()


def prune(bank: Bank) -> dict[str, Any]:
    (ending,) = bank.run(message("maintenance.prune", {}))
    assert ending.outcome == "succeeded", ending
    return dict(ending.data)


def do(bank: Bank, task: str, **payload: Any) -> UUID:
    job_id = uuid4()
    (ending,) = bank.run(message(task, payload, job_id))
    assert ending.outcome == "succeeded", ending
    return job_id


def age(bank: Bank, days: int) -> None:
    """Let everything have happened so many days earlier."""
    moved = {
        "trivet.jobs": ["first_seen", "ended_at", "dropped_at"],
        "trivet.job_conflicts": ["seen_at"],
        "trivet.outbox": ["owed_since"],
        "users_sessions": ["opened_at", "expires_at", "revoked_at"],
        "holds": ["held_at", "expires_at", "resolved_at"],
    }
    with bank.run.given.engine.begin() as connection:
        for table, columns in moved.items():
            earlier = ", ".join(f"{column} = {column} - interval '{days} days'" for column in columns)
            connection.execute(text(f"UPDATE {table} SET {earlier}"))  # noqa: S608 - ours


def known(bank: Bank) -> set[UUID]:
    """The jobs that are remembered, without those of maintenance."""
    return {row.id for row in bank.rows("SELECT id FROM trivet.jobs WHERE task NOT LIKE 'maintenance.%'")}


def newer(bank: Bank) -> None:
    """Jobs that have ended just now, as many as are kept for the stream."""
    for number in range(KEPT):
        do(bank, "documents.put", collection="pages", id=f"new{number}", body={})


def test_an_ended_job_is_forgotten_after_the_retention_and_not_before(old: Bank) -> None:
    users = [old.user() for _ in range(2)]
    age(old, 20)
    user = old.user()
    age(old, 11)
    newer(old)

    removed = prune(old)

    assert removed == {
        **dict.fromkeys(["tombstones", "conflicts", "sessions", "holds"], 0),
        "jobs": 2,
        "more": False,
    }
    assert known(old) & {*users, user} == {user}
    assert prune(old)["jobs"] == 0
    assert old.value("SELECT count(*) FROM users") == 3


def test_the_newest_jobs_stay_whatever_their_age_for_their_events_may_be_needed_again(old: Bank) -> None:
    ids = [old.user() for _ in range(KEPT + 2)]
    age(old, 40)

    first = prune(old)["jobs"]
    second = prune(old)["jobs"]

    assert (first, second) == (2, 1), "the first one has ended meanwhile, and is one of the newest"
    assert known(old) == set(ids[-KEPT + 1 :])


def test_a_job_that_is_parked_or_owes_something_or_has_not_ended_stays(old: Bank) -> None:
    dropped, parked = do(old, "users.list"), do(old, "users.list")
    owing = do(old, "users.list")
    running = do(old, "users.list")
    with old.run.given.engine.begin() as connection:
        parking = "UPDATE trivet.jobs SET state = 'parked', dropped_at = {} WHERE id = :id"
        connection.execute(text(parking.format("now()")), {"id": dropped})
        connection.execute(text(parking.format("NULL")), {"id": parked})
        connection.execute(
            text("UPDATE trivet.jobs SET state = 'accepted', ended_at = NULL WHERE id = :id"), {"id": running}
        )
        owed = "INSERT INTO trivet.outbox (job_id, lane, shard, subject, size, parked_at)"
        connection.execute(text(f"{owed} VALUES (:id, 0, 0, 'x', 0, now())"), {"id": owing})
    age(old, 40)
    newer(old)

    prune(old)

    assert known(old) & {dropped, parked, owing, running} == {parked, owing, running}


def test_sessions_and_holds_and_conflicts_go_once_they_have_been_over_for_the_retention(old: Bank) -> None:
    user = old.user()
    source, target = old.open_many(2, 100, owner=user)
    hashes = {name: sha256(name.encode()).hexdigest() for name in ("revoked", "expired", "alive", "lately")}
    for name, token_hash in hashes.items():
        ttl_s = 1 if name == "expired" else 40 * 24 * 3600
        do(old, "sessions.open", token_hash=token_hash, user_id=user, ttl_s=ttl_s, attributes={})
    do(old, "sessions.revoke", token_hash=hashes["revoked"])
    holds = [do(old, "accounts.hold", source=source, target=target, amount=5) for _ in range(3)]
    do(old, "accounts.release", hold=holds[0])
    do(old, "accounts.capture", hold=holds[1])
    old.run(message("users.list", {}, user))
    age(old, 31)
    do(old, "sessions.revoke", token_hash=hashes["lately"])

    removed = prune(old)

    assert (removed["sessions"], removed["holds"], removed["conflicts"]) == (2, 2, 1)
    left = {row.token_hash for row in old.rows("SELECT token_hash FROM users_sessions")}
    assert left == {hashes["alive"], hashes["lately"]}
    assert [row.id for row in old.rows("SELECT id FROM holds")] == [holds[2]]
    assert old.value("SELECT held FROM accounts WHERE id = :id", id=source) == 5
    (again,) = old.run(message("accounts.capture", {"hold": holds[0]}))
    assert again.data["code"] == "hold_not_found"


def note(bank: Bank, verb: str, key: str, **payload: Any) -> UUID:
    return do(bank, f"documents.{verb}", collection="notes", id=key, **payload)


def tombstones(bank: Bank) -> set[str]:
    return {each["_id"] for each in bank.run.given.documents["documents.notes"].find({"deleted": True})}


def test_a_tombstone_and_its_row_go_after_the_retention_and_what_is_gone_stays_gone(old: Bank) -> None:
    author = old.user()
    post = do(old, "posts.create", author_id=author, title="One")
    for key in ("gone", "again", "kept"):
        note(old, "put", key, body={"n": 1})
    for key in ("gone", "again"):
        note(old, "delete", key)
    do(old, "posts.delete", id=post)
    age(old, 31)
    note(old, "put", "again", body={"n": 2})
    note(old, "put", "lately", body={})
    note(old, "delete", "lately")

    removed = prune(old)

    assert removed["tombstones"] == 2
    assert tombstones(old) == {"lately"}
    assert old.run.given.documents.posts.count_documents({}) == 0
    assert {row.id for row in old.rows("SELECT id FROM documents")} == {"notes/again", "notes/kept", "notes/lately"}
    assert {key: body for key, (_, body) in documents_read(old.run.given).items()} == {
        "notes/again": {"n": 2},
        "notes/kept": {"n": 1},
    }
    (found,) = old.run(message("maintenance.reconcile_documents", {}))
    assert found.data["differences"] == 0
    note(old, "put", "gone", body={"n": 3})
    assert documents_read(old.run.given)["notes/gone"] == (1, {"n": 3})


def test_tombstones_are_found_by_their_index_and_documents_are_not_looked_at(old: Bank) -> None:
    notes = old.run.given.documents["documents.notes"]
    notes.insert_many(
        {"_id": f"{number}", "version": number, "deleted": number % 10 == 0} for number in range(1, 101)
    )

    found = notes.find({"deleted": True, "version": {"$gt": 0, "$lte": 50}}).sort([("version", 1), ("_id", 1)])
    plan = str(found.explain()["queryPlanner"]["winningPlan"])
    with old.run.given.engine.begin() as connection:
        pages = list(Copies(connection, old.run.given.documents, 2).tombstones("documents.notes", 50))

    assert "'indexName': 'tombstones'" in plan
    assert "SORT'" not in plan
    assert [[listed.version for listed in page] for page in pages] == [[10, 20, 30, 40, 50]]


def test_a_tombstone_stays_while_an_older_write_may_still_come(old: Bank) -> None:
    note(old, "put", "one", body={})
    written = batch.run("documents.put", [put("one")], old.run.given)
    assert written.shards
    with old.run.given.engine.begin() as connection:
        connection.execute(text("UPDATE trivet.outbox SET parked_at = now(), error = 'planted'"))
    note(old, "delete", "one")
    age(old, 31)
    newer(old)

    first = prune(old)
    with old.run.given.engine.begin() as connection:
        connection.execute(text("UPDATE trivet.outbox SET parked_at = NULL"))
    old.deliver_all()
    age(old, 31)
    second = prune(old)

    assert (first["tombstones"], second["tombstones"]) == (0, 1)
    assert old.run.given.documents["documents.notes"].find_one({"_id": "one"}) is None
    assert old.value("SELECT count(*) FROM documents WHERE id = 'notes/one'") == 0


def put(key: str) -> Any:
    return message("documents.put", {"collection": "notes", "id": key, "body": {"late": True}})


def test_a_sweep_takes_no_document_and_no_newer_tombstone_however_late_it_comes(old: Bank) -> None:
    database = old.run.given.documents
    sweep = (30, DocumentChange("notes", "a", None, sweep=20))
    for version, deleted in ((10, True), (20, True), (21, True), (10, False)):
        database.notes.replace_one({"_id": "a"}, {"version": version, "deleted": deleted}, upsert=True)

        assert documents.write(database, [sweep]) == {}

        assert database.notes.count_documents({"_id": "a"}) == (version > 20 or not deleted)
        database.notes.delete_many({})


def test_a_sweep_in_the_same_turn_as_an_older_write_does_not_cost_the_write(old: Bank) -> None:
    database = old.run.given.documents
    database.notes.insert_one({"_id": "a", "version": 5, "deleted": True})

    documents.write(
        database, [(25, DocumentChange("notes", "a", {"n": 1})), (30, DocumentChange("notes", "a", None, sweep=20))]
    )

    assert database.notes.find_one({"_id": "a"}) == {"_id": "a", "n": 1, "version": 25, "deleted": False}


def test_more_than_a_portion_is_pruned_by_jobs_that_follow_each_other(old: Bank) -> None:
    with old.run.given.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO trivet.jobs (id, task, task_id, state, deadline, first_seen, ended_at)"
                " SELECT gen_random_uuid(), 'users.list', 'x', 'succeeded', now(), now() - interval '40 days',"
                " now() - interval '40 days' FROM generate_series(1, 5001)"
            )
        )
    newer(old)

    first = prune(old)
    queued: Any = old.run.given.redis.lrange("maintenance", 0, -1)
    second = prune(old)

    assert (first["jobs"], first["more"], second["jobs"], second["more"]) == (5_000, True, 1, False)
    assert len(queued) == 1
    assert TURN_ROWS < 5_000


def test_while_something_older_is_owed_nothing_younger_is_forgotten(old: Bank) -> None:
    old.user()
    batch.run("documents.put", [put("owed")], old.run.given)
    age(old, 60)
    newer(old)
    with old.run.given.engine.begin() as connection:
        connection.execute(text("UPDATE trivet.outbox SET due_at = now() + interval '1 day'"))
        connection.execute(
            text("UPDATE trivet.jobs SET ended_at = now() - interval '50 days' WHERE task = 'users.create'")
        )

    assert prune(old)["jobs"] == 0
    with old.run.given.engine.begin() as connection:
        connection.execute(text("UPDATE trivet.outbox SET due_at = NULL"))
    old.deliver_all()
    assert prune(old)["jobs"] >= 1
