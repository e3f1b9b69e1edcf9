"""`trivet jobs`: what became of a job, and the newest of many."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, make_url, text

from tests.fixtures.command_line import Run
from tests.fixtures.jobs import Bank, Runner, message
from worker.errors import Outcome, StoreUnavailable, WrongSettings
from worker.execution import batch
from worker.messages import derive_id
from worker.operations.embedded.ports import choose
from worker.operations.jobs import find, tell
from worker.operations.listing import Listed, listing, newest
from worker.settings import Settings
from worker.stores.postgres import open_engine
from worker.stores.resources import Resources


def user(name: str = "Ada") -> dict[str, str]:
    return {"name": name, "email": f"{uuid4()}@example.org"}


def ids(found: Sequence[Listed]) -> list[UUID]:
    return [job.id for job in found]


# One job


def test_a_succeeded_job_is_told_with_its_result_and_owes_nothing(bank: Bank, given: Resources) -> None:
    alice, bob, job_id = bank.open(100), bank.open(100), uuid4()

    bank.run(message("accounts.transfer", {"source": alice, "target": bob, "amount": 30}, job_id))
    story = tell(given.engine, job_id)

    assert story is not None
    assert (story.state, story.subject, story.attempts) == (Outcome.SUCCEEDED, f"accounts/{alice}", 1)
    assert story.data == {"transfer": str(job_id), "source_balance": 70, "target_balance": 130}
    assert story.owes == []
    assert not story.owes_event


def test_what_a_job_still_owes_is_told(given: Resources) -> None:
    job_id = uuid4()

    batch.run("users.create", [message("users.create", user(), job_id, want_result=True)], given)
    story = tell(given.engine, job_id)

    assert story is not None
    results, documents = sorted(story.owes, key=lambda owed: owed.lane, reverse=True)
    assert (results.lane, results.effects, results.event) == ("redis", {"results": 1}, None)
    assert (documents.lane, documents.documents) == ("documents", [f"users/{job_id}"])
    assert documents.event == "users.create.succeeded"
    assert story.owes_event


def test_an_effect_that_was_given_up_is_told_with_its_error(given: Resources) -> None:
    job_id = uuid4()
    batch.run("users.create", [message("users.create", user(), job_id)], given)
    with given.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE trivet.outbox SET parked_at = now(), attempts = 10, error = 'mongodb://u:canary@h refuses'"
        )

    story = tell(given.engine, job_id)

    assert story is not None
    assert story.owes[0].parked_at is not None
    assert story.owes[0].attempts == 10
    assert story.owes[0].error == "mongodb://u:***@h refuses"
    assert not story.owes_event


def test_attempts_that_failed_are_told_in_order(given: Resources, run_jobs: Runner, tmp_path: Path) -> None:
    failing = message("testing.fail", {"path": str(tmp_path / "count"), "times": 2}, "failing")

    run_jobs(failing)
    run_jobs(failing)
    story = tell(given.engine, derive_id("testing.fail", "failing"))

    assert story is not None
    assert (story.state, story.attempts, story.failures) == (Outcome.RETRYING, 2, 2)
    assert len(story.history) == 2
    assert story.last_error is not None
    assert story.last_error.strip().endswith("RuntimeError: this code fails")
    assert story.due_at is not None


def test_a_refused_message_is_told_with_the_job_whose_id_it_used(given: Resources, run_jobs: Runner) -> None:
    run_jobs(message("users.create", user(), "first", idempotency_key="ada"))
    run_jobs(message("users.create", user(), "second", idempotency_key="ada"))

    story = tell(given.engine, derive_id("users.create", "ada"))

    assert story is not None
    assert (story.task_id, story.state) == ("first", Outcome.SUCCEEDED)
    assert [conflict.task_id for conflict in story.conflicts] == ["second"]
    assert story.conflicts[0].digest != story.digest


def test_a_job_is_found_by_its_id_its_key_and_any_task_id(given: Resources, run_jobs: Runner) -> None:
    task_id = str(uuid4())
    run_jobs(message("users.create", user("Ada"), task_id, idempotency_key="ada"))
    run_jobs(message("users.create", user("Eve"), "refused", idempotency_key="ada"))
    run_jobs(message("users.create", user("Bob"), "no uuid"))
    ada, bob = derive_id("users.create", "ada"), derive_id("users.create", "no uuid")

    def found(name: str) -> list[UUID]:
        return find(given.engine, name, ["users.create", "accounts.open"])

    assert found(str(ada)) == found(str(ada).upper()) == found("ada") == found(task_id) == found("refused") == [ada]
    assert found(str(bob)) == found("no uuid") == [bob]
    assert find(given.engine, "no uuid") == [bob]
    assert found("nobody") == found(str(uuid4())) == []


def test_a_key_of_two_tasks_finds_both_jobs(given: Resources, bank: Bank) -> None:
    account = bank.open(100)
    payload = {"account": account, "amount": 1}
    bank.run(message("accounts.deposit", payload, idempotency_key="k"), message("users.create", {}, "k"))

    found = find(given.engine, "k", ["accounts.deposit", "users.create"])

    assert sorted(found) == sorted([derive_id("accounts.deposit", "k"), derive_id("users.create", "k")])


# Many jobs

FILL = """
    INSERT INTO trivet.jobs (id, task, task_id, digest, state, attempts, first_seen, deadline, ended_at, data)
    SELECT gen_random_uuid(), (ARRAY['users.create', 'accounts.transfer', 'posts.get'])[1 + n % 3], n, '\\x00',
           state, 1, now() - n * interval '1 s', now(), CASE WHEN ended THEN now() - (n - 1) * interval '1 s' END,
           jsonb_build_object('code', 'c' || n, 'email', 'canary@example.org')
    FROM generate_series(1, :count) AS n,
         LATERAL (SELECT coalesce((ARRAY['rejected', 'parked', 'retrying', 'accepted'])[1 + n % 11],
                                  'succeeded')) AS s (state),
         LATERAL (SELECT state NOT IN ('retrying', 'accepted')) AS e (ended)
"""


def fill(engine: Engine, count: int) -> None:
    with engine.begin() as connection:
        connection.execute(text(FILL), {"count": count})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE trivet.jobs")


def plan(engine: Engine, **wanted: Any) -> str:
    query = listing(**({"state": None, "task": None, "limit": 20} | wanted)).compile(engine)
    with engine.begin() as connection:
        return "\n".join(connection.exec_driver_sql(f"EXPLAIN {query}", dict(query.params)).scalars())


def test_the_newest_jobs_come_first_whether_they_have_ended_or_not(given: Resources) -> None:
    fill(given.engine, 500)

    found = newest(given.engine, limit=100)

    when = [job.ended_at or job.first_seen for job in found]
    assert when == sorted(when, reverse=True)
    assert len(found) == 100
    assert {job.state for job in found} == set(Outcome)


@pytest.mark.parametrize("state", Outcome)
def test_only_jobs_in_the_state_asked_for_are_listed(given: Resources, state: Outcome) -> None:
    fill(given.engine, 200)

    found = newest(given.engine, state=state, limit=5)

    assert len(found) == 5
    assert {job.state for job in found} == {state}


@pytest.mark.parametrize(
    ("task", "tasks"),
    [
        ("users.create", {"users.create"}),
        ("accounts.*", {"accounts.transfer"}),
        ("*s.?????e", {"users.create"}),
        ("*", {"users.create", "accounts.transfer", "posts.get"}),
        ("users_create", set()),
        ("users%", set()),
        ("\\", set()),
    ],
)
def test_only_tasks_that_match_are_listed(given: Resources, task: str, tasks: set[str]) -> None:
    fill(given.engine, 100)

    assert {job.task for job in newest(given.engine, task=task, limit=100)} == tasks


@pytest.mark.parametrize(
    "wanted", [{}, *({"state": state} for state in Outcome), {"task": "users.*"}, {"limit": 500}], ids=str
)
def test_listing_the_newest_of_many_jobs_reads_by_index(given: Resources, wanted: dict[str, Any]) -> None:
    fill(given.engine, 30_000)

    assert "Seq Scan on jobs" not in plan(given.engine, **wanted)


# The command line


def test_show_tells_a_job_on_the_terminal_and_as_json(bank: Bank, trivet: Run) -> None:
    account = bank.open(100)
    bank.run(message("accounts.deposit", {"account": account, "amount": 5}, idempotency_key="order-42"))
    job_id = str(derive_id("accounts.deposit", "order-42"))

    shown, as_json = trivet("jobs", "show", "order-42"), trivet("jobs", "show", job_id, "--json")

    assert (shown.returncode, as_json.returncode) == (0, 0), shown.stderr + as_json.stderr
    for part in (job_id, "accounts.deposit", "succeeded", f"accounts/{account}", '"balance": 105'):
        assert part in shown.stdout
    told = json.loads(as_json.stdout)
    assert (told["id"], told["state"], told["data"]["balance"]) == (job_id, "succeeded", 105)
    assert told["ended_at"].endswith("Z")


def test_nothing_is_cut_off_on_a_narrow_terminal(bank: Bank, trivet: Run) -> None:
    bank.run(message("users.create", {"name": "x" * 150, "email": "long@example.org"}, "long"))

    shown = trivet("jobs", "show", "long", COLUMNS="60")

    assert "".join(shown.stdout.split()).count("x") >= 150


def test_an_unknown_job_is_one_line_on_stderr(given: Resources, trivet: Run) -> None:
    shown = trivet("jobs", "show", "nobody")

    assert shown.returncode == 1
    assert shown.stdout == ""
    assert shown.stderr.startswith("trivet: the ledger has no job nobody")
    assert shown.stderr.count("\n") == 1


def test_ls_lists_what_became_of_jobs_and_nothing_that_they_carry(bank: Bank, trivet: Run) -> None:
    bank.run(message("users.create", {"name": "Ada", "email": "canary@example.org"}, "ada"))
    bank.run(message("users.create", {"name": "Eve", "email": "canary@example.org"}, "eve"))
    rejected = str(derive_id("users.create", "eve"))

    table, as_json = (
        trivet("jobs", "ls"),
        trivet("jobs", "ls", "--state", "rejected", "--task", "users.*", "--json"),
    )

    assert (table.returncode, as_json.returncode) == (0, 0), table.stderr + as_json.stderr
    assert rejected in table.stdout
    assert "rejected email_taken" in table.stdout
    assert [(job["id"], job["code"]) for job in json.loads(as_json.stdout)] == [(rejected, "email_taken")]
    assert "canary" not in table.stdout + as_json.stdout


def test_a_state_that_does_not_exist_is_refused_with_those_that_do(given: Resources, trivet: Run) -> None:
    listed = trivet("jobs", "ls", "--state", "done")

    assert listed.returncode == 2
    assert "retrying" in listed.stderr
    assert listed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["jobs", "ls", "--bogus"], "no such option: --bogus; see trivet jobs ls --help"),
        (["jobs", "show"], "missing argument 'ID'; see trivet jobs show --help"),
        (["jobs", "lss"], "no such command 'lss'. Did you mean 'ls'; see trivet jobs --help"),
        (["nothing"], "no such command 'nothing'; see trivet --help"),
        (["jobs", "ls", "--task"], "option '--task' requires an argument; see trivet --help"),
        (["enqueue", "users.list"], "missing argument 'JSON'; see trivet enqueue --help"),
        (["jobs", "ls", "--task", "\udcff"], "invalid value: '\\udcff' is no text in UTF-8; see trivet --help"),
        (["jobs", "show", "a\udcff"], "invalid value: 'a\\udcff' is no text in UTF-8; see trivet --help"),
    ],
    ids=lambda told: None if isinstance(told, list) else ascii(told.partition(";")[0]),
)
def test_wrong_usage_is_one_line_that_says_what_was_wrong_and_where_to_look(
    trivet: Run, arguments: list[str], told: str
) -> None:
    done = trivet(*arguments)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"trivet: {told}\n")


def test_a_number_that_is_none_is_refused_in_one_line_that_names_the_option(trivet: Run) -> None:
    done = trivet("jobs", "ls", "--limit", "many")

    assert done.returncode == 2
    assert done.stderr.startswith("trivet: invalid value for '--limit': ")
    assert done.stderr.endswith("; see trivet jobs ls --help\n")
    assert done.stderr.count("\n") == 1


def test_help_is_no_error_and_a_group_alone_shows_it(trivet: Run) -> None:
    asked, alone = trivet("jobs", "--help"), trivet("jobs")

    assert (asked.returncode, asked.stderr) == (0, "")
    assert "What became of jobs" in asked.stdout
    assert "What became of jobs" in alone.stdout + alone.stderr


@pytest.fixture
def stranger(given: Resources) -> Iterator[str]:
    """The URL of a role that may read nothing of the ledger."""
    with given.engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE stranger LOGIN PASSWORD 'canary'")
    url = make_url(given.settings.postgres_url.get_secret_value())
    yield url.set(username="stranger", password="canary").render_as_string(hide_password=False)  # noqa: S106 - a role of this test
    with given.engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE stranger")


@pytest.mark.parametrize(
    "arguments", [("jobs", "ls"), ("jobs", "show", "x"), ("enqueue", "users.list", "{}", "--wait", "5")]
)
def test_a_login_that_may_not_read_the_ledger_is_told_so_in_one_line(
    stranger: str, trivet: Run, arguments: tuple[str, ...]
) -> None:
    done = trivet(*arguments, TRIVET_POSTGRES_URL=stranger)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("trivet: PostgreSQL does not let this login do that (permission denied for ")
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr
    assert ("may have been sent" in done.stderr) is ("--wait" in arguments)


def test_a_postgresql_that_is_away_is_said_in_one_line(trivet: Run) -> None:
    nobody = f"postgresql://u:canary@127.0.0.1:{choose()}/x"

    listed = trivet("jobs", "ls", TRIVET_POSTGRES_URL=nobody)

    assert listed.returncode == 1
    assert listed.stderr.startswith("trivet: PostgreSQL does not answer")
    assert listed.stderr.count("\n") == 1
    assert "canary" not in listed.stderr


def test_a_database_without_a_ledger_is_told_to_be_migrated(settings: Settings) -> None:
    engine = open_engine(settings)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CREATE DATABASE bare")
    engine.dispose()
    url, _, _ = settings.postgres_url.get_secret_value().rpartition("/")
    bare = open_engine(settings.model_copy(update={"postgres_url": type(settings.postgres_url)(f"{url}/bare")}))

    with pytest.raises(WrongSettings, match="trivet migrate"):
        newest(bare, limit=1)

    bare.dispose()


def test_an_answer_that_takes_too_long_is_said(given: Resources) -> None:
    hasty = open_engine(given.settings.model_copy(update={"lease_s": 0.3}))

    with given.engine.begin() as holder:
        holder.exec_driver_sql("LOCK trivet.jobs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            newest(hasty, limit=1)

    hasty.dispose()


def test_times_are_aware_and_utc(bank: Bank, given: Resources) -> None:
    job_id = bank.user()

    story = tell(given.engine, job_id)

    assert story is not None
    assert story.first_seen.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - story.first_seen) < timedelta(minutes=1)
