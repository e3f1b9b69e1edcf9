"""Every document is proved to equal its row: planted damage of each kind is found, and repaired for good."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from bson import Decimal128, ObjectId
from sqlalchemy import event

from tasks.maintenance.comparing import FIRST_MAX
from tests.fixtures.jobs import Bank, message
from worker.delivery import documents
from worker.delivery.effects import DocumentChange
from worker.delivery.versions import raise_ids
from worker.execution import batch
from worker.execution.attempt import Ending

Collection = Any


@dataclass(frozen=True)
class World:
    """One document of every kind; `ids` are theirs, by collection."""

    bank: Bank
    ids: Mapping[str, str]

    def collection(self, name: str) -> Collection:
        return self.bank.run.given.documents[name]

    def everything(self) -> dict[str, list[Any]]:
        """All documents of all kinds, without their versions."""
        found = {name: self.collection(name).find({}, {"version": 0}).sort("_id") for name in self.ids}
        return {name: list(each) for name, each in found.items()}

    def live(self) -> dict[str, list[Any]]:
        """The documents that a reader sees."""
        return {name: [each for each in found if not each["deleted"]] for name, found in self.everything().items()}


def run(bank: Bank, task: str, **payload: Any) -> Ending:
    (ending,) = bank.run(message(task, payload))
    return ending


def reconcile(bank: Bank) -> dict[str, Any]:
    """What one run tells; it must succeed."""
    ending = run(bank, "maintenance.reconcile_documents")
    assert ending.outcome == "succeeded", ending
    return dict(ending.data)


@pytest.fixture
def world(bank: Bank) -> World:
    """A user who did something of everything."""
    user = bank.user()
    source, target = bank.open_many(2, 100, owner=user)
    ids: dict[str, UUID | str] = {"users": user}
    for collection, task, payload in (
        ("posts", "posts.create", {"author_id": user, "title": "One", "content": "word"}),
        ("receipts", "accounts.transfer", {"source": source, "target": target, "amount": 30}),
        ("notifications", "notifications.send", {"user_id": user, "kind": "greeting", "body": "hello"}),
    ):
        ids[collection] = uuid4()
        (ending,) = bank.run(message(task, payload, ids[collection]))
        assert ending.outcome == "succeeded", ending
    put = run(bank, "documents.put", collection="notes", id="one", body={"n": 1, "list": [1.0, None, 2**40]})
    assert put.outcome == "succeeded", put
    reconcile(bank)
    (report,) = bank.rows("SELECT id FROM reports")
    ids |= {"documents.notes": "one", "reports": report.id}
    return World(bank, {name: str(key) for name, key in ids.items()})


KINDS_OF_NUMBER = ["int", "double", "decimal"]
KINDS = ["users", "posts", "receipts", "notifications", "documents.notes"]


def delete(collection: Collection, key: str) -> None:
    collection.delete_one({"_id": key})


def change_a_value(collection: Collection, key: str) -> None:
    field = next(name for name in collection.find_one({"_id": key}) if name not in {"_id", "version", "deleted"})
    collection.update_one({"_id": key}, {"$set": {field: "something else"}})


def add_a_field(collection: Collection, key: str) -> None:
    collection.update_one({"_id": key}, {"$set": {"planted": 1}})


def take_the_version(collection: Collection, key: str) -> None:
    collection.update_one({"_id": key}, {"$unset": {"version": ""}})


def misspell_the_version(collection: Collection, key: str) -> None:
    collection.update_one({"_id": key}, {"$set": {"version": "new"}})


def lower_the_version(collection: Collection, key: str) -> None:
    collection.update_one({"_id": key}, {"$set": {"version": 0}})


def make_the_version_no_number(collection: Collection, key: str) -> None:
    collection.update_one({"_id": key}, {"$set": {"version": Decimal128("NaN")}})


def make_the_version_a_double(collection: Collection, key: str) -> None:
    collection.update_one({"_id": key}, [{"$set": {"version": {"$toDouble": "$version"}}}])


def bury(collection: Collection, key: str) -> None:
    collection.update_one({"_id": key}, {"$set": {"deleted": True}})


def tear_out_the_content(collection: Collection, key: str) -> None:
    collection.update_one(
        {"_id": key}, [{"$replaceWith": {"_id": "$_id", "version": "$version", "deleted": False}}]
    )


DAMAGE = [
    (delete, "missing"),
    (bury, "missing"),
    (change_a_value, "altered"),
    (add_a_field, "altered"),
    (take_the_version, "altered"),
    (misspell_the_version, "altered"),
    (lower_the_version, "altered"),
    (make_the_version_no_number, "altered"),
    (make_the_version_a_double, "altered"),
    (tear_out_the_content, "altered"),
]


@pytest.mark.parametrize(("damage", "problem"), DAMAGE, ids=lambda each: getattr(each, "__name__", each))
def test_a_damaged_document_of_any_kind_is_found_and_made_what_its_row_says(
    world: World, damage: Callable[[Collection, str], None], problem: str
) -> None:
    before = world.live()
    for kind in KINDS:
        damage(world.collection(kind), world.ids[kind])

    found = reconcile(world.bank)

    told = [{"collection": kind, "id": world.ids[kind], "problem": problem, "repaired": True} for kind in KINDS]
    assert sorted(found["first"], key=lambda each: KINDS.index(each["collection"])) == told
    assert {found["collections"][kind][problem] for kind in KINDS} == {1}
    assert found["differences"] == found["repaired"] == len(KINDS)
    assert {name: world.live()[name] for name in KINDS} == {name: before[name] for name in KINDS}
    assert reconcile(world.bank)["differences"] == 0


def test_what_is_altered_in_a_way_that_python_takes_for_the_same_is_found(world: World) -> None:
    notes = world.collection("documents.notes")
    for body in ({"n": True}, {"n": 1.0}, {"list.0": 1}):
        notes.update_one({"_id": "one"}, {"$set": {f"body.{name}": value for name, value in body.items()}})

        assert reconcile(world.bank)["collections"]["documents.notes"]["altered"] == 1

    assert [type(value) for value in notes.find_one({"_id": "one"})["body"]["list"]][:2] == [float, type(None)]


@pytest.mark.parametrize(
    "marks", [{"version": 3, "deleted": False}, {}, {"version": "x", "deleted": "no"}], ids=["ours", "bare", "odd"]
)
def test_a_document_without_a_row_becomes_a_tombstone_that_no_late_write_undoes(
    world: World, marks: dict[str, Any]
) -> None:
    keys = [str(uuid4()), "no id of ours", "\N{SNOWMAN}\0", ObjectId()]
    for kind in world.ids:
        world.collection(kind).insert_many([{"_id": key, "planted": True, **marks} for key in keys])

    found = reconcile(world.bank)
    late = [(5, DocumentChange(kind, key, {"planted": "again"})) for key in keys for kind in world.ids]
    documents.write(world.bank.run.given.documents, late)

    assert {found["collections"][kind]["extra"] for kind in world.ids} == {4}
    assert found["repaired"] == 4 * len(world.ids)
    for kind in world.ids:
        left = list(world.collection(kind).find({"_id": {"$in": keys}}))
        assert {str(each["_id"]) for each in left} == {str(key) for key in keys}
        assert all(each.keys() == {"_id", "version", "deleted"} and each["deleted"] is True for each in left)
    assert reconcile(world.bank)["differences"] == 0


@pytest.mark.parametrize("kind", ["users", "posts", "documents.notes"])
def test_a_tombstone_that_was_brought_back_is_buried_again(world: World, kind: str) -> None:
    bank, key = world.bank, world.ids[kind]
    alive = world.collection(kind).find_one({"_id": key})
    gone = {"posts": ("posts.delete", {"id": key}), "documents.notes": ("documents.delete", NOTE)}
    task, payload = gone.get(kind) or _without_accounts(world)
    assert run(bank, task, **payload).outcome == "succeeded"
    world.collection(kind).replace_one({"_id": key}, {**alive, "version": alive["version"] + 1_000})

    found = reconcile(bank)

    assert (found["collections"][kind]["extra"], found["repaired"]) == (1, 1)
    assert reconcile(bank)["differences"] == 0


def test_what_is_left_in_a_tombstone_is_taken_out(world: World) -> None:
    world.collection("posts").insert_one({"_id": str(uuid4()), "version": 1, "deleted": True, "title": "secret"})

    assert reconcile(world.bank)["collections"]["posts"]["altered"] == 1
    assert world.collection("posts").count_documents({"title": "secret"}) == 0


@pytest.mark.parametrize("kind", [int, float, lambda version: Decimal128(f"{version}.5")], ids=KINDS_OF_NUMBER)
def test_a_document_with_a_version_that_was_never_drawn_is_outrun_and_repaired_and_later_writes_win(
    world: World, kind: Callable[[int], Any]
) -> None:
    post, last = world.ids["posts"], world.bank.value("SELECT last_value FROM trivet.outbox_id")
    planted = {"version": kind(last + 10**12), "title": "planted"}
    world.collection("posts").update_one({"_id": post}, {"$set": planted})

    found = reconcile(world.bank)
    repaired = world.collection("posts").find_one({"_id": post})
    run(world.bank, "posts.update", id=post, title="Two")

    assert (found["versions_raised"], found["repaired"]) == (True, 1)
    assert (repaired["title"], world.collection("posts").find_one({"_id": post})["title"]) == ("One", "Two")
    again = reconcile(world.bank)
    assert (again["versions_raised"], again["differences"]) == (False, 0)


@pytest.mark.parametrize("version", [2**53 - 1, 2**63 - 1, 2.0**60, Decimal128("Infinity")])
def test_a_version_beyond_all_reason_does_not_use_up_the_versions_and_is_told(world: World, version: Any) -> None:
    key, before = world.ids["posts"], world.bank.value("SELECT last_value FROM trivet.outbox_id")
    world.collection("posts").update_one({"_id": key}, {"$set": {"version": version, "title": "planted"}})
    world.collection("users").insert_one({"_id": {"an": "object"}})

    found = reconcile(world.bank)

    assert world.bank.value("SELECT last_value FROM trivet.outbox_id") < before + 1_000
    assert (found["stubborn"], found["differences"], found["repaired"]) == (2, 2, 0)
    assert {each["repaired"] for each in found["first"]} == {False}


def test_all_stubborn_documents_are_counted_and_the_first_are_told(world: World) -> None:
    world.collection("users").insert_many([{"_id": {"an": number}} for number in range(FIRST_MAX + 5)])

    found = reconcile(world.bank)

    assert (found["stubborn"], found["collections"]["users"]["extra"]) == (FIRST_MAX + 5, FIRST_MAX + 5)
    assert len(found["first"]) == FIRST_MAX


@pytest.mark.parametrize("letter", ["\u754c", "\u0001", '"'])
def test_however_long_planted_keys_are_the_report_fits_and_the_documents_are_gone(
    world: World, letter: str
) -> None:
    keys = [f"{number}{letter * 210}" for number in range(FIRST_MAX + 5)]
    world.collection("users").insert_many([{"_id": key, "version": 1, "deleted": False} for key in keys])

    found = reconcile(world.bank)
    world.bank.deliver_all()

    assert found["repaired"] == len(keys)
    assert world.collection("users").count_documents({"_id": {"$in": keys}, "deleted": False}) == 0


def test_versions_are_raised_once_and_never_lowered(bank: Bank) -> None:
    def last() -> int:
        return int(bank.value("SELECT last_value FROM trivet.outbox_id"))

    start = last()
    with bank.run.given.engine.begin() as connection:
        raised = [raise_ids(connection, above) for above in (start - 1, start, start + 10, start + 10, 0)]

    assert raised == [False, False, True, False, False]
    assert last() > start + 10


def test_what_is_owed_is_not_repaired_and_no_difference(world: World) -> None:
    bank = world.bank
    batch.run("posts.update", [message("posts.update", {"id": world.ids["posts"], "title": "Two"})], bank.run.given)
    batch.run("documents.put", [put("two", {})], bank.run.given)
    batch.run("documents.delete", [message("documents.delete", NOTE)], bank.run.given)

    (ending,) = [
        attempt.ended
        for attempt in batch.run(
            "maintenance.reconcile_documents", [message("maintenance.reconcile_documents", {})], bank.run.given
        ).attempts
    ]

    assert (ending.data["differences"], ending.data["left"]) == (0, 0)
    bank.deliver_all()
    assert reconcile(bank)["differences"] == 0


NOTE = {"collection": "notes", "id": "one"}


def put(key: str, body: dict[str, Any]) -> Any:
    return message("documents.put", {"collection": "notes", "id": key, "body": body})


def test_what_somebody_else_has_in_hand_is_left_for_the_next_run(world: World) -> None:
    bank, engine = world.bank, world.bank.run.given.engine
    delete(world.collection("notifications"), world.ids["notifications"])
    delete(world.collection("documents.notes"), "one")
    world.collection("posts").insert_one({"_id": str(uuid4())})

    with engine.begin() as other:
        other.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        other.exec_driver_sql("SELECT FROM users FOR NO KEY UPDATE")
        other.exec_driver_sql("UPDATE posts SET title = title")
        first = reconcile(bank)

    assert (first["repaired"], first["left"]) == (1, 2)
    second = reconcile(bank)
    assert (second["repaired"], second["left"]) == (2, 0)
    assert reconcile(bank)["differences"] == 0


ROW_LOCK = "FOR NO KEY UPDATE SKIP LOCKED"


def test_a_table_is_locked_for_what_has_no_row_only_when_all_rows_are_repaired(world: World) -> None:
    statements: list[str] = []
    for kind in ("users", "posts", "receipts"):
        world.collection(kind).insert_one({"_id": str(uuid4())})
        delete(world.collection(kind), world.ids[kind])

    def note_statement(*told: Any) -> None:
        statements.append(told[2])

    event.listen(world.bank.run.given.engine, "before_cursor_execute", note_statement)
    found = reconcile(world.bank)
    event.remove(world.bank.run.given.engine, "before_cursor_execute", note_statement)

    table_locks = [at for at, statement in enumerate(statements) if statement.startswith("LOCK TABLE")]
    row_locks = [at for at, told in enumerate(statements) if ROW_LOCK in told and "trivet." not in told]
    assert (found["repaired"], len(table_locks)) == (6, 3)
    assert row_locks
    assert max(row_locks) < min(table_locks)


def test_a_user_and_a_post_and_a_document_that_are_right_are_left_alone(world: World) -> None:
    before = {name: list(world.collection(name).find()) for name in KINDS}

    found = reconcile(world.bank)

    assert (found["differences"], found["repaired"], found["left"], found["first"]) == (0, 0, 0, [])
    assert {name: list(world.collection(name).find()) for name in KINDS} == before
    assert {name: each["documents"] for name, each in found["collections"].items()} == {
        **dict.fromkeys([*KINDS, "reports"], 1),
        "documents.pages": 0,
        "documents.preferences": 0,
    }


def test_the_report_of_the_day_says_what_was_found_and_no_event_names_a_document(world: World) -> None:
    world.collection("users").insert_one({"_id": "ada@example.org"})

    found = reconcile(world.bank)

    report = world.collection("reports").find_one({"_id": f"reconcile_documents:{datetime.now(UTC):%F}"})
    assert {name: report[name] for name in found} == found
    assert "ada@example.org" in str(report["first"])
    assert "ada@example.org" not in str(world.bank.events())
    assert world.bank.events()[-1]["data"]["repaired"] == 1


def test_several_who_ask_at_the_same_time_get_one_answer(world: World) -> None:
    delete(world.collection("posts"), world.ids["posts"])

    endings = world.bank.run(*(message("maintenance.reconcile_documents", {}) for _ in range(3)))

    assert [ending.data["repaired"] for ending in endings] == [1, 1, 1]
    assert world.bank.value("SELECT count(*) FROM trivet.outbox") == 0


def _without_accounts(world: World) -> tuple[str, dict[str, Any]]:
    """Close the user's accounts, so that the user can go, with all that it was told."""
    bank = world.bank
    for row in bank.rows("SELECT id, balance FROM accounts WHERE balance > 0"):
        run(bank, "accounts.withdraw", account=row.id, amount=row.balance)
    for row in bank.rows("SELECT id FROM accounts"):
        run(bank, "accounts.close", id=row.id)
    return "users.delete", {"id": world.ids["users"]}
