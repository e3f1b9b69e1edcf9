"""Reconciling while jobs go on, while MongoDB is away, and after PostgreSQL was restored from an older dump."""

import random
import subprocess
import threading
from pathlib import Path
from uuid import UUID, uuid4

from tests.fixtures.jobs import Bank, Runner, message, settings_for
from worker.execution.attempt import Ending
from worker.messages import Message
from worker.operations.embedded import Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

RECONCILE = "maintenance.reconcile_documents"


def reconcile(runner: Runner) -> Ending:
    (ending,) = runner(message(RECONCILE, {}))
    return ending


def dump(servers: Stack, file: Path) -> None:
    """As an operator makes a backup."""
    _postgres(servers, "pg_dump", "--format=custom", f"--file={file}", servers.postgres.url)


def restore(servers: Stack, file: Path) -> None:
    """Put back the backup; what has been written since is lost."""
    _postgres(servers, "pg_restore", "--clean", "--if-exists", f"--dbname={servers.postgres.url}", str(file))


def _postgres(servers: Stack, program: str, *arguments: str) -> None:
    path = servers.postgres.program.path.with_name(program)
    ran = subprocess.run([str(path), *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def some_writes(chance: random.Random, user: UUID, posts: list[UUID]) -> list[Message]:
    """A batch of changes to the same few documents: made, changed, removed and made again."""
    keys = [f"n{number}" for number in range(20)]
    kind = chance.choice(["put", "delete", "posts", "update", "send"])
    many = range(chance.randint(1, 15))
    match kind:
        case "put":
            note = {"collection": "notes", "body": {"n": chance.random()}}
            return [message("documents.put", {**note, "id": chance.choice(keys)}) for _ in many]
        case "delete":
            return [message("documents.delete", {"collection": "notes", "id": chance.choice(keys)}) for _ in many]
        case "posts":
            made = [uuid4() for _ in many]
            posts += made
            return [message("posts.create", {"author_id": user, "title": "new"}, job_id) for job_id in made]
        case "update":
            task = chance.choice(["posts.delete", "posts.publish"])
            return [message(task, {"id": chance.choice(posts or [uuid4()])}) for _ in many]
    return [message("notifications.send", {"user_id": user, "kind": "k", "body": "b"}) for _ in many]


def test_while_jobs_change_documents_nothing_is_found_and_nothing_is_broken(bank: Bank) -> None:
    user, over = bank.user(), threading.Event()
    failures: list[BaseException] = []

    def write(seed: int) -> None:
        chance, posts = random.Random(seed), list[UUID]()
        runner = Runner(bank.run.given)
        try:
            while not over.is_set():
                runner(*some_writes(chance, user, posts))
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            runner.node.close()

    threads = [threading.Thread(target=write, args=[seed]) for seed in range(2)]
    for thread in threads:
        thread.start()
    try:
        found = [reconcile(bank.run).data for _ in range(8)]
    finally:
        over.set()
        for thread in threads:
            thread.join()

    assert failures == []
    assert [each["differences"] for each in found] == [0] * 8
    assert [each["repaired"] for each in found] == [0] * 8
    bank.deliver_all()
    bank.check()
    assert bank.value("SELECT count(*) FROM posts") > 0


def test_damage_that_is_planted_while_jobs_go_on_is_repaired_and_the_jobs_win(bank: Bank) -> None:
    user, over = bank.user(), threading.Event()
    notes = bank.run.given.documents["documents.notes"]

    def write() -> None:
        chance, runner = random.Random(3), Runner(bank.run.given)
        while not over.is_set():
            runner(*some_writes(chance, user, []))
        runner.node.close()

    def damage() -> None:
        chance = random.Random(4)
        while not over.wait(0.01):
            key = f"n{chance.randrange(20)}"
            match chance.randrange(3):
                case 0:
                    notes.delete_one({"_id": key})
                case 1:
                    notes.update_one({"_id": key}, {"$set": {"body": "planted"}})
                case 2:
                    notes.update_one({"_id": f"x{key}"}, {"$set": {"deleted": False}}, upsert=True)

    threads = [threading.Thread(target=target) for target in (write, damage)]
    for thread in threads:
        thread.start()
    try:
        during = sum(reconcile(bank.run).data["repaired"] for _ in range(5))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    bank.deliver_all()
    after = reconcile(bank.run).data

    assert during + after["repaired"] > 0
    assert reconcile(bank.run).data["differences"] == 0
    bank.check()


def test_while_mongodb_is_away_the_job_is_tried_again_and_nothing_is_counted_as_a_failure(
    own_servers: Stack,
) -> None:
    settings = settings_for(own_servers.urls)
    with Resources.open(settings) as given:
        migrate(given)
        runner = Runner(given)
        job_id = uuid4()
        Bank(runner).user()
        with given.engine.begin() as connection:
            # Only for what is old enough does prune ask MongoDB.
            connection.exec_driver_sql("UPDATE trivet.jobs SET ended_at = ended_at - interval '40 days'")
        own_servers.mongo.kill()

        (away,) = runner(message(RECONCILE, {}, job_id))
        (prune,) = runner(message("maintenance.prune", {}))
        own_servers.mongo.start()
        (back,) = runner(message(RECONCILE, {}, job_id))
        runner.node.close()

    assert (away.outcome, away.failed, away.data["message"]) == ("retrying", False, "Unavailable")
    assert (prune.outcome, prune.failed) == ("retrying", False)
    assert back.outcome == "succeeded"


def test_after_a_restore_from_an_older_dump_documents_follow_postgresql_and_later_writes_win(
    own_servers: Stack, tmp_path: Path
) -> None:
    settings = settings_for(own_servers.urls)
    note = {"collection": "notes", "id": "one"}
    with Resources.open(settings) as given:
        migrate(given)
        runner = Runner(given)
        bank = Bank(runner)
        user = bank.user()
        runner(message("documents.put", {**note, "body": {"at": "dump"}}))
        dump(own_servers, tmp_path / "dump")

        for number in range(50):
            runner(message("documents.put", {**note, "body": {"at": f"lost {number}"}}))
        lost = uuid4()
        runner(message("posts.create", {"author_id": user, "title": "lost"}, lost))
        given.engine.dispose()
        restore(own_servers, tmp_path / "dump")
        runner(message("documents.put", {**note, "id": "two", "body": {"at": "before"}}))

        found = reconcile(runner).data
        read = {each["_id"]: each["body"] for each in given.documents["documents.notes"].find({"deleted": False})}
        runner(message("documents.put", {**note, "body": {"at": "after"}}))
        runner(message("posts.create", {"author_id": user, "title": "lost"}, lost))

        assert (found["versions_raised"], found["left"]) == (True, 0)
        assert read == {"one": {"at": "dump"}, "two": {"at": "before"}}
        assert given.documents["documents.notes"].find_one({"_id": "one"})["body"] == {"at": "after"}  # type: ignore[index]  # it is there
        assert given.documents.posts.find_one({"_id": str(lost)})["deleted"] is False  # type: ignore[index]  # it is there
        last = reconcile(runner).data
        assert (last["versions_raised"], last["differences"]) == (False, 0)
        runner.node.close()
