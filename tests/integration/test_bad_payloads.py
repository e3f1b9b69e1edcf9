"""Every task there is: what its schema refuses is refused by the field, and nothing leads to half an effect."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.amounts import TIMES
from tests.fixtures.copies import everything
from tests.fixtures.jobs import Bank, Runner, empty, message
from tests.fixtures.world import JOBS, World
from worker.delivery.node import Node
from worker.errors import Outcome
from worker.stores.resources import Resources

EXAMPLES = 8 * TIMES if TIMES > 1 else 5
BATCH_MAX = 5


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One world for the whole table: no case of it may leave a trace."""
    with closing(Resources.open(request.getfixturevalue("settings"))) as clients, closing(Node()) as node:
        empty(clients)
        yield World.make(Bank(Runner(clients, node)))


CODES = dict.fromkeys(("collection other words", "collection empty"), "collection_not_allowed")
"""A check of a field may have a code of its own."""


@pytest.mark.parametrize("task", JOBS)
def test_what_is_no_valid_field_is_rejected_by_its_name_and_nothing_is_written(world: World, task: str) -> None:
    bank, cases = world.bank, list(world.spoiled(task))
    before, told = everything(bank.run.given), len(bank.events())

    endings = bank.run(*(message(task, payload) for _, payload, _ in cases))

    found = {
        what: (ending.outcome.value, ending.data.get("code"), ending.data.get("field"))
        for (what, _, _), ending in zip(cases, endings, strict=True)
    }
    assert found == {what: ("rejected", CODES.get(what, "invalid_payload"), field) for what, _, field in cases}
    assert everything(bank.run.given) == before
    assert [event["type"] for event in bank.events()[told:]] == [f"{task}.rejected"] * len(cases)
    assert bank.value("SELECT count(*) FROM trivet.outbox") == 0


@pytest.mark.generated
@pytest.mark.parametrize("task", JOBS)
def test_no_payload_whatever_leads_to_an_error_or_to_half_an_effect(bank: Bank, task: str) -> None:
    world = World.make(bank)
    (taken,) = bank.run(message(task, world.valid(task)))
    assert taken.outcome is Outcome.SUCCEEDED, "what is wrong in the other payloads is what was spoiled in this one"

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(world.payloads(task), min_size=1, max_size=BATCH_MAX))
    def holds(payloads: Sequence[dict[str, Any]]) -> None:
        before, batch = everything(bank.run.given), [message(task, payload) for payload in payloads]
        endings = bank.run(*batch)
        assert {ending.outcome for ending in endings} <= {Outcome.SUCCEEDED, Outcome.REJECTED}, endings
        refused = [UUID(one.task_id) for one, end in zip(batch, endings, strict=True) if end.outcome == "rejected"]
        if len(refused) == len(batch):
            assert everything(bank.run.given) == before
        assert left_by(bank, refused) == 0
        bank.check()

    holds()


def left_by(bank: Bank, jobs: Sequence[UUID]) -> int:
    """How many rows and documents bear the ids of these jobs, as all that a job creates does."""
    rows: int = bank.value(LEFT, ids=list(jobs))
    documents = bank.run.given.documents
    names = [str(job) for job in jobs]
    return rows + sum(
        documents[collection].count_documents({"_id": {"$in": names}})
        for collection in ("users", "posts", "receipts", "notifications")
    )


LEFT = " UNION ALL ".join(
    f"SELECT {column} AS id FROM {table}"  # noqa: S608 - ours
    for table, column in {
        "users": "id",
        "posts": "id",
        "accounts": "id",
        "holds": "id",
        "notifications": "id",
        "ledger_entries": "movement_id",
    }.items()
)
LEFT = f"SELECT count(*) FROM ({LEFT}) AS made WHERE id = ANY(:ids)"  # noqa: S608 - ours
