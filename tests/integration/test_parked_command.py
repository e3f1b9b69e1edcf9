"""`trivet parked`: what was given up is looked at, replayed or dropped."""

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests.fixtures.command_line import Run, RunForBytes
from tests.fixtures.jobs import Bank, message
from worker.errors import Outcome
from worker.execution import batch
from worker.execution.resending import send_due
from worker.execution.sends import note_loss
from worker.intake.elements import read_element, unknown, unreadable
from worker.messages import Message, derive_id, job_id, raw_digest
from worker.operations.parked import kept, parked_effects, parked_ids, parked_jobs
from worker.operations.replaying import PORTION, Settled, drop, replay
from worker.stores.resources import Resources

POISON = ("poison", "its process died 3 times while it ran alone")
JUNK = b"\xff\x00 no message \x1b[31m"


def deposit(bank: Bank, amount: int = 5, task_id: UUID | str | None = None, **headers: Any) -> Message:
    return message("accounts.deposit", {"account": bank.open(100), "amount": amount}, task_id, **headers)


def park(bank: Bank, job: Message, code: str = POISON[0], why: str = POISON[1]) -> UUID:
    """Give a message up, as a node does; returns the job's id."""
    bank.run.node.mark(batch.park(job, code, why, bank.run.given).shards)
    bank.run.deliver_all()
    return job_id(job)


def sent(bank: Bank, queue: str = "accounts") -> list[Message]:
    """Send what is due; returns what a node takes from the queue then."""
    redis = bank.run.given.redis
    send_due(bank.run.given)
    elements: Any = redis.lrange(queue, 0, -1)
    redis.delete(queue)
    return [read_element(raw).message for raw in reversed(elements)]


def row_of(bank: Bank, job: UUID) -> Any:
    return bank.rows("SELECT *, now() AS now FROM trivet.jobs WHERE id = :id", id=job)[0]


def events_of(bank: Bank, job: UUID) -> list[dict[str, Any]]:
    return [event for event in bank.events() if event["jobid"] == str(job)]


def balance_of(bank: Bank, job: Message) -> int:
    return bank.balance(UUID(orjson.loads(job.body)[1]["account"]))


def give_up_effects(bank: Bank) -> None:
    with bank.run.given.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE trivet.outbox SET parked_at = now(), attempts = 10, error = 'mongodb://u:canary@h refuses'"
        )


# Replayed


def test_a_replayed_job_runs_under_the_same_id_and_takes_effect_once(bank: Bank, given: Resources) -> None:
    job = deposit(bank, 5)
    parked = park(bank, job)

    replayed = replay(given.engine, [parked])
    (again,) = sent(bank)
    endings = bank.run(again, job)

    assert (replayed.jobs, replayed.refused) == (1, {})
    assert (job_id(again), again.task_id, again.body) == (parked, job.task_id, job.body)
    assert [ending.outcome for ending in endings] == [Outcome.SUCCEEDED] * 2
    assert balance_of(bank, job) == 105
    assert [event["type"] for event in events_of(bank, parked)] == [
        "accounts.deposit.parked",
        "accounts.deposit.succeeded",
    ]


def test_a_replayed_job_starts_from_the_beginning_and_keeps_its_history(bank: Bank, given: Resources) -> None:
    parked = park(bank, deposit(bank))

    replay(given.engine, [parked])

    row = row_of(bank, parked)
    assert (row.state, row.replays, row.attempts, row.failures, row.data) == ("accepted", 1, 0, 0, None)
    assert (row.ended_at, row.deadline - row.due_at) == (None, timedelta(hours=24))
    assert row.due_at <= row.now
    assert [past["error"] for past in row.history] == [POISON[1]]


def test_a_replay_that_parks_again_has_another_event_id(bank: Bank, given: Resources, tmp_path: Path) -> None:
    job = message("testing.fail", {"path": str(tmp_path / "count"), "times": 99})

    for _ in range(3):
        while not bank.run(job)[0].outcome.ended:
            pass
        replay(given.engine, [job_id(job)])

    events = events_of(bank, job_id(job))
    assert [event["type"] for event in events] == ["testing.fail.parked"] * 3
    assert len({event["id"] for event in events}) == 3
    assert len(row_of(bank, job_id(job)).history) == 3 * 5


def test_the_first_event_of_a_job_has_the_id_that_it_always_had(bank: Bank) -> None:
    parked = park(bank, deposit(bank))

    (event,) = events_of(bank, parked)

    assert event["id"] == str(derive_id("event accounts.deposit.parked", f"{parked} "))


def test_two_replays_at_once_send_it_once(bank: Bank, given: Resources) -> None:
    parked = [park(bank, deposit(bank)) for _ in range(5)]
    both, ready = [Settled(), Settled()], threading.Barrier(2)

    def one(number: int) -> None:
        ready.wait()
        both[number] = replay(given.engine, parked)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert both[0].jobs + both[1].jobs == 5
    assert [*both[0].refused.values(), *both[1].refused.values()] == ["not parked: it is accepted"] * 5
    assert [row_of(bank, job).replays for job in parked] == [1] * 5
    assert sorted(job_id(again) for again in sent(bank)) == sorted(parked)


def test_a_replay_outlives_a_redis_that_lost_its_data(bank: Bank, given: Resources) -> None:
    job = deposit(bank)
    replay(given.engine, [park(bank, job)])

    assert len(sent(bank)) == 1
    given.redis.flushall()
    note_loss(given)
    bank.run(*sent(bank))

    assert balance_of(bank, job) == 105


def test_a_job_whose_deadline_has_passed_runs_when_it_is_replayed(bank: Bank, given: Resources) -> None:
    job = deposit(bank, task_id="late")
    parked = park(bank, job)
    late = Message(job.task, job.task_id, job.body, headers={"deadline": "2020-01-01T00:00:00Z"})
    bank.value(
        """UPDATE trivet.jobs SET headers = '{"deadline": "2020-01-01T00:00:00Z"}' WHERE id = :id RETURNING 1""",
        id=parked,
    )

    replay(given.engine, [parked])
    (again,) = sent(bank)
    (ending,) = bank.run(late)

    assert again.headers == {}
    assert ending.outcome is Outcome.SUCCEEDED
    assert balance_of(bank, job) == 105


def test_who_waits_for_the_result_gets_that_of_the_replay(bank: Bank, given: Resources) -> None:
    job = deposit(bank, want_result=True)
    key = f"celery-task-meta-{job.task_id}"
    parked = park(bank, job)
    stored: Any = given.redis.get(key)
    assert orjson.loads(stored)["result"]["exc_type"] == "Parked"

    replay(given.engine, [parked])
    bank.run(*sent(bank))

    stored = given.redis.get(key)
    assert orjson.loads(stored)["result"]["balance"] == 105


def test_a_repeat_after_a_replay_is_told_the_event_of_the_replay(bank: Bank, given: Resources, trivet: Run) -> None:
    account = bank.open(100)
    payload = {"account": str(account), "amount": 5}
    replay(given.engine, [park(bank, message("accounts.deposit", payload, idempotency_key="k"))])
    bank.run(*sent(bank))

    told = trivet("enqueue", "accounts.deposit", json.dumps(payload), "--key", "k", "--wait", "20", "--json")

    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["id"] == events_of(bank, derive_id("accounts.deposit", "k"))[-1]["id"]


def test_more_than_a_portion_is_replayed_as_a_whole(bank: Bank, given: Resources) -> None:
    first = park(bank, deposit(bank))
    bank.value(
        """
        WITH copies AS (
            INSERT INTO trivet.jobs (id, task, task_id, digest, state, deadline, ended_at, body)
            SELECT gen_random_uuid(), task, n, digest, state, deadline, ended_at, body
            FROM trivet.jobs, generate_series(1, :count) AS n WHERE id = :id RETURNING 1)
        SELECT count(*) FROM copies
        """,
        count=2 * PORTION,
        id=first,
    )

    replayed = replay(given.engine, parked_ids(given.engine, "*"))

    assert (replayed.jobs, replayed.refused) == (2 * PORTION + 1, {})
    assert parked_jobs(given.engine) == []


# Unknown and unreadable


def test_a_task_that_nobody_knew_is_replayed_once_it_is_known(bank: Bank, given: Resources) -> None:
    job = deposit(bank)
    parked = park(bank, unknown(job), "unknown_task", "no task is named accounts.deposit")

    (repeat,) = bank.run(job)
    replay(given.engine, [parked])
    (ending,) = bank.run(*sent(bank))

    assert (repeat.outcome, repeat.data["code"]) == (Outcome.PARKED, "unknown_task")
    assert ending.outcome is Outcome.SUCCEEDED
    assert balance_of(bank, job) == 105


def test_what_an_older_version_could_not_read_is_replayed_by_one_that_can(bank: Bank, given: Resources) -> None:
    job = deposit(bank)
    parked = park(bank, job, "unreadable", "payload_version 1 is not known here")
    with given.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trivet.jobs SET digest = %s WHERE id = %s", (raw_digest(job), parked))

    replay(given.engine, [parked])
    (ending,) = bank.run(*sent(bank))

    assert ending.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (unreadable(JUNK), "its bytes are no message"),
        (message("nobody.knows", {}), "no job is named nobody.knows here"),
        (message("accounts.deposit", b"{}"), "not Celery's"),
        (message("accounts.deposit", {}, payload_version=2), "payload_version 2"),
    ],
    ids=["no message", "unknown task", "no body", "another version"],
)
def test_what_can_never_be_read_is_not_replayed_and_stays(
    bank: Bank, given: Resources, job: Message, why: str
) -> None:
    parked = park(bank, job, "unreadable", "it cannot be read")

    replayed = replay(given.engine, [parked])

    assert replayed.jobs == 0
    assert why in replayed.refused[parked]
    assert [found.id for found in parked_jobs(given.engine)] == [parked]


# Not parked


def test_replaying_or_dropping_what_is_not_parked_says_so(bank: Bank, given: Resources, tmp_path: Path) -> None:
    nobody, done = uuid4(), bank.open(100)
    failing = message("testing.fail", {"path": str(tmp_path / "count"), "times": 1})
    bank.run(failing)
    expected = {
        nobody: "not parked: the ledger does not have it",
        done: "not parked: it is succeeded",
        job_id(failing): "not parked: it is retrying",
    }

    orders = [order(given.engine, list(expected)) for order in (replay, drop)]

    assert orders == [Settled(0, 0, expected)] * 2


# Dropped


def test_a_dropped_job_is_never_run_again_and_a_late_duplicate_has_no_effect(bank: Bank, given: Resources) -> None:
    job = deposit(bank, want_result=True)
    parked = park(bank, job)

    dropped = drop(given.engine, [parked])
    (duplicate,) = bank.run(job)
    refused = replay(given.engine, [parked]).refused

    assert (dropped.jobs, dropped.refused) == (1, {})
    assert duplicate.outcome is Outcome.PARKED
    assert refused[parked].startswith("not parked: it was dropped at ")
    assert (sent(bank), balance_of(bank, job)) == ([], 100)
    assert len(events_of(bank, parked)) == 1
    row = row_of(bank, parked)
    assert (row.state, row.body, row.headers) == ("parked", None, None)


def test_what_is_dropped_is_not_listed_any_more(bank: Bank, given: Resources) -> None:
    one, other = park(bank, deposit(bank)), park(bank, deposit(bank))

    drop(given.engine, [one])

    assert [job.id for job in parked_jobs(given.engine)] == parked_ids(given.engine, "*") == [other]
    assert kept(given.engine, one) is None


# Effects


def test_a_replayed_effect_goes_out_and_a_dropped_one_is_gone(bank: Bank, given: Resources) -> None:
    replayed, dropped = (message("users.create", {"name": "Ada", "email": f"{n}@example.org"}) for n in range(2))
    batch.run("users.create", [replayed, dropped], given)
    give_up_effects(bank)
    bank.run.deliver_all()
    assert {effect.job_id for effect in parked_effects(given.engine)} == {job_id(replayed), job_id(dropped)}

    orders = replay(given.engine, [job_id(replayed)]), drop(given.engine, [job_id(dropped)])
    bank.run.deliver_all()

    assert orders == (Settled(effects=1), Settled(effects=1))
    assert bank.value("SELECT count(*) FROM trivet.outbox") == 0
    assert [user["_id"] for user in given.documents.users.find()] == [str(job_id(replayed))]
    assert [event["jobid"] for event in bank.events()] == [str(job_id(replayed))]


# The command line


def test_ls_lists_what_is_parked_and_why_and_nothing_that_it_carries(bank: Bank, trivet: Run) -> None:
    parked = park(bank, message("users.create", {"name": "Ada", "email": "canary@example.org"}))
    batch.run("users.create", [message("users.create", {"name": "Eve", "email": "e@example.org"})], bank.run.given)
    give_up_effects(bank)

    table, as_json = trivet("parked", "ls"), trivet("parked", "ls", "--task", "users.*", "--json")

    assert (table.returncode, as_json.returncode) == (0, 0), table.stderr + as_json.stderr
    for part in (str(parked), "poison its process died", "effects of jobs", "mongodb://u:***@h"):
        assert part in table.stdout
    told = json.loads(as_json.stdout)
    assert [(job["id"], job["code"]) for job in told["jobs"]] == [(str(parked), "poison")]
    assert [effect["lane"] for effect in told["effects"]] == ["documents"]
    assert "canary" not in table.stdout + as_json.stdout


def test_an_empty_list_says_so(given: Resources, trivet: Run) -> None:
    assert trivet("parked", "ls").stdout == "nothing is parked\n"


def test_show_tells_why_and_what_it_carries_without_secrets(bank: Bank, trivet: Run) -> None:
    payload = {"account": "redis://u:canary@h", "amount": 5}
    park(bank, message("accounts.deposit", payload, idempotency_key="order-42", want_result=True))

    shown, as_json = trivet("parked", "show", "order-42"), trivet("parked", "show", "order-42", "--json")

    assert (shown.returncode, as_json.returncode) == (0, 0), shown.stderr + as_json.stderr
    for part in ("parked", POISON[1], '"idempotency_key": "order-42"', '"amount": 5', "redis://u:***@h"):
        assert part in shown.stdout
    told = json.loads(as_json.stdout)
    assert (told["state"], told["payload"]) == ("parked", {"account": "redis://u:***@h", "amount": 5})
    assert told["headers"]["want_result"] is True
    assert "canary" not in shown.stdout + as_json.stdout


def test_an_unreadable_item_is_shown_with_its_raw_bytes(bank: Bank, trivet: Run, trivet_bytes: RunForBytes) -> None:
    parked = str(park(bank, unreadable(JUNK), "unreadable", "the element is not JSON"))

    shown, raw = trivet("parked", "show", parked), trivet_bytes("parked", "show", parked, "--raw")

    assert r"\xff\x00 no message \x1b[31m" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert (raw.returncode, raw.stdout) == (0, JUNK)


def test_many_are_replayed_only_when_the_operator_is_sure(bank: Bank, trivet: Run) -> None:
    deposits = {str(park(bank, deposit(bank))) for _ in range(2)}
    other = str(park(bank, message("users.create", {})))

    asked = trivet("parked", "replay", "--task", "accounts.*")
    assert (asked.returncode, asked.stdout.strip()) == (1, "")
    assert "replay what is parked of 2 jobs?" in asked.stderr
    assert len(parked_ids(bank.run.given.engine, "*")) == 3

    sure = trivet("parked", "replay", "--task", "accounts.*", "--yes")
    assert (sure.returncode, sure.stdout) == (0, "replayed 2 jobs and 0 effects\n"), sure.stderr
    assert {str(job_id(again)) for again in sent(bank)} == deposits

    dropped = trivet("parked", "drop", "--all", "--yes")
    assert (dropped.returncode, dropped.stdout) == (0, "dropped 1 job and 0 effects\n"), dropped.stderr
    shown = trivet("parked", "show", other)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == f"trivet: job {other} is not parked, it is dropped: see `trivet jobs show {other}`\n"


def test_what_is_not_replayed_is_one_line_on_stderr(bank: Bank, trivet: Run) -> None:
    good = park(bank, deposit(bank))
    bad = [park(bank, message("nobody.knows", {}), "unknown_task", "nobody") for _ in range(2)]

    done = trivet("parked", "replay", str(good), *map(str, bad))

    assert (done.returncode, done.stdout) == (1, "replayed 1 job and 0 effects\n")
    assert done.stderr.startswith(
        f"trivet: not replayed: 2 jobs like {min(bad)}: no job is named nobody.knows here"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("--all", "--task", "x"), ("some-id", "--all")], ids=str)
def test_an_order_for_nobody_or_for_two_is_refused(given: Resources, trivet: Run, arguments: tuple[str]) -> None:
    done = trivet("parked", "drop", *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("trivet: ")
