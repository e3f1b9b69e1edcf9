"""Maintenance needs no more rights than a worker has."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.fixtures.jobs import Bank, Runner, message
from worker.stores.postgres import open_engine
from worker.stores.resources import Resources


@pytest.fixture
def as_worker(given: Resources) -> Iterator[Bank]:
    """A bank whose every statement is one of the role `trivet_worker`."""
    url = given.settings.postgres_url.get_secret_value()
    role = SecretStr(f"{url}?options={quote('-c role=trivet_worker')}")
    engine = open_engine(given.settings.model_copy(update={"postgres_url": role}))
    runner = Runner(replace(given, engine=engine))
    yield Bank(runner)
    runner.node.close()
    engine.dispose()


def test_the_workers_role_may_do_all_that_maintenance_does(as_worker: Bank) -> None:
    bank, documents = as_worker, as_worker.run.given.documents
    source, target = bank.open_many(2, 100)
    bank.run(message("accounts.transfer", {"source": source, "target": target, "amount": 5}))
    never_drawn = bank.value("SELECT nextval('trivet.outbox_id')") + 10**10
    for collection in ("users", "posts", "receipts", "notifications", "documents.notes", "reports"):
        documents[collection].insert_one({"_id": str(uuid4()), "version": never_drawn})
    documents.receipts.delete_many({"source": str(source)})

    endings = {
        task: bank.run(message(f"maintenance.{task}", {}))[0]
        for task in ("reconcile_documents", "reconcile_ledger", "daily_report", "prune")
    }

    assert {str(ending.outcome) for ending in endings.values()} == {"succeeded"}, endings
    assert endings["reconcile_documents"].data["repaired"] == 7
    assert endings["reconcile_documents"].data["versions_raised"] is True
    with bank.run.given.engine.begin() as connection:
        assert connection.scalar(text("SELECT current_user")) == "trivet_worker"
