"""A real node, and an operator who has the last word on what it gave up."""

import json
from typing import Any
from uuid import UUID, uuid4

from tests.fixtures.command_line import Run, RunForBytes
from tests.fixtures.jobs import Bank, message
from tests.fixtures.nodes import StartNode, wait_for
from worker.envelopes import envelope
from worker.execution import batch
from worker.messages import derive_id
from worker.operations.embedded import Urls
from worker.operations.parked import parked_jobs

JUNK = b"\xff no message"


def state_of(bank: Bank, job: UUID) -> Any:
    return bank.value("SELECT max(state) FROM trivet.jobs WHERE id = :id", id=job)


def test_what_a_node_gave_up_is_replayed_or_dropped_and_stays_so(
    bank: Bank, servers: Urls, start_node: StartNode, trivet: Run, trivet_bytes: RunForBytes
) -> None:
    given, account, job_id = bank.run.given, bank.open(100), uuid4()
    job = message("accounts.deposit", {"account": account, "amount": 5}, job_id)
    batch.park(job, "poison", "its process died 3 times while it ran alone", given)
    bank.deliver_all()  # its event has another subject than the one to come: only so is their order certain
    start_node(servers)
    given.redis.lpush("accounts", envelope(message("nobody.knows", {}, "unknown")), JUNK)
    wait_for(lambda: len(parked_jobs(given.engine)) == 3)
    by_task = {found.task: str(found.id) for found in parked_jobs(given.engine)}

    replayed = trivet("parked", "replay", "--all", "--yes")
    wait_for(lambda: state_of(bank, job_id) == "succeeded")
    raw = trivet_bytes("parked", "show", by_task["unreadable"], "--raw")
    dropped = trivet("parked", "drop", by_task["unreadable"])
    last = message("accounts.deposit", {"account": account, "amount": 1}, uuid4())
    given.redis.lpush("accounts", JUNK, envelope(job), envelope(last))  # late duplicates, and one that comes after
    wait_for(lambda: state_of(bank, UUID(last.task_id)) == "succeeded")
    left = json.loads(trivet("parked", "ls", "--json").stdout)

    assert replayed.stdout == "replayed 1 job and 0 effects\n"
    assert "no job is named nobody.knows" in replayed.stderr
    assert "its bytes are no message" in replayed.stderr
    assert (raw.stdout, dropped.returncode) == (JUNK, 0)
    assert [found["id"] for found in left["jobs"]] == [str(derive_id("nobody.knows", "unknown"))]
    bank.deliver_all()
    kinds = [event["type"] for event in bank.events() if event["jobid"] == str(job_id)]
    assert kinds == ["accounts.deposit.parked", "accounts.deposit.succeeded"]
    assert bank.balance(account) == 100 + 5 + 1
