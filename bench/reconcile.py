"""How long maintenance takes: `python -m bench.reconcile [--documents N] [--damage N]`.

Half of the documents are users, half are receipts, each with its two entries in the ledger. Prints how long each
job takes in its transaction, without the delivery of what it owes, and what it found; and the memory that the
process took in all. Then as many documents as asked are damaged, and repaired. The servers are embedded.
"""

import argparse
import logging
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from pymongo import WriteConcern
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

import tasks.accounts
import tasks.maintenance
import tasks.users  # noqa: F401 - declares its jobs and projections
from tasks.model.projections import PROJECTIONS
from tests.fixtures.jobs import message, settings_for
from worker.delivery.effects import content_of
from worker.execution import batch
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

FILL: Final = """
    INSERT INTO users (id, name, email, active, created_at, updated_at)
    SELECT gen_random_uuid(), 'Name ' || i, i || '@example.org', true, now(), now()
    FROM generate_series(1, :half) AS i;
    INSERT INTO accounts (id, owner_id, currency, balance, opened_at)
    SELECT gen_random_uuid(), id, 'EUR', 0, now() FROM users LIMIT 1000;
    INSERT INTO ledger_entries (movement_id, account_id, currency, amount, balance, entered_at)
    SELECT moved.id, leg.account_id, 'EUR', leg.amount, 0, now()
    FROM (SELECT gen_random_uuid() AS id, account.ids[1 + i % 1000] AS source,
                 account.ids[1 + (i + 1) % 1000] AS target
          FROM generate_series(1, :half) AS i, (SELECT array_agg(id) AS ids FROM accounts) AS account) AS moved,
         LATERAL (VALUES (moved.source, -1), (moved.target, 1)) AS leg (account_id, amount)
"""


def fill(given: Resources, documents: int) -> None:
    """Rows by SQL, and their documents as the projections say."""
    with given.engine.connect() as connection:
        _rows(connection.execution_options(isolation_level="AUTOCOMMIT"), documents // 2)
    quick = given.documents.with_options(write_concern=WriteConcern(w=1, j=False))
    with Session(given.engine) as session:
        session.connection().exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        for projection in PROJECTIONS:
            for page in projection.pages(session):
                marks = {"version": 1, "deleted": False}
                copies = [{"_id": key, **content_of(content), **marks} for key, content in page.contents.items()]
                quick[projection.collection].insert_many(copies, ordered=False)


def _rows(connection: Connection, half: int) -> None:
    connection.exec_driver_sql("SET statement_timeout = 0")
    for statement in FILL.split(";"):
        connection.execute(text(statement), {"half": half} if ":half" in statement else {})
    connection.exec_driver_sql("VACUUM (ANALYZE) users, accounts, ledger_entries")
    connection.exec_driver_sql("RESET statement_timeout")


def timed(task: str, given: Resources) -> None:
    """Run one job as a batch of its own, and those that go on with it; print what they took, and the result."""
    following: UUID | None = uuid4()
    took_s: list[float] = []
    while following is not None:
        started = time.perf_counter()
        (attempt,) = batch.run(task, [message(task, {}, following)], given).attempts
        took_s.append(time.perf_counter() - started)
        with given.engine.begin() as connection:
            following = connection.scalar(text("SELECT next_job FROM reconciliations"))
    figures = {name: value for name, value in attempt.ended.data.items() if isinstance(value, int)}
    runs = f"in {len(took_s)} runs, {max(took_s):.2f} s at most, " if len(took_s) > 1 else ""
    print(f"{task:34} {sum(took_s):7.2f} s   {runs}{attempt.ended.outcome.value}  {figures}")


def damage(given: Resources, count: int) -> None:
    """Alter so many users, the first ones by their ids."""
    users: Any = given.documents.users
    keys = [found["_id"] for found in users.find({}, {"_id": 1}).sort("_id").limit(count)]
    users.update_many({"_id": {"$in": keys}}, {"$set": {"name": "planted"}})


def main() -> None:
    """Start servers, fill them, run the jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--damage", type=int, default=5_000)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Place.of(Path(folder)), Options())
        stack.start()
        try:
            with Resources.open(settings_for(stack.urls, lease_s=15)) as given:
                migrate(given)
                fill(given, asked.documents)
                print(f"{asked.documents:,} documents; the batch limit is {given.settings.batch_limit_s:g} s")
                for task in ("reconcile_documents", "reconcile_ledger", "daily_report", "prune"):
                    timed(f"maintenance.{task}", given)
                damage(given, asked.damage)
                timed("maintenance.reconcile_documents", given)
        finally:
            stack.kill()
    print(
        f"memory of this process at its highest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"
    )


if __name__ == "__main__":
    main()
