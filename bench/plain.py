"""The comparator: the same transfer and deposit as ordinary Celery tasks, as a competent user writes them.

One transaction a job with psycopg, prefork, late acknowledgement, connections that stay open, a receipt in MongoDB
with majority, an event published and appended to the stream. Run by `trivet bench`, and by `bench.kills` through
`bench.stock`, never by hand.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any

import psycopg
import pymongo
import redis
from celery import Celery, signals

app = Celery("plain", broker=os.environ["TRIVET_REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=100,
    task_default_queue="plain",
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)

_clients: dict[str, Any] = {}


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def connect(**_: object) -> None:
    """Open the clients of a pool process."""
    _clients["postgres"] = psycopg.connect(os.environ["TRIVET_POSTGRES_URL"])
    _clients["mongo"] = pymongo.MongoClient[dict[str, Any]](os.environ["TRIVET_MONGO_URL"], w="majority")
    _clients["redis"] = redis.Redis.from_url(os.environ["TRIVET_REDIS_URL"])


@app.task(bind=True, name="plain.transfer")  # type: ignore[untyped-decorator]  # Celery has no types
def transfer(self: Any, source: str, target: str, amount: int) -> None:
    """Move the money, leave the receipt, tell."""
    job_id = self.request.id
    with _clients["postgres"].transaction(), _clients["postgres"].cursor() as cursor:
        cursor.execute(
            "SELECT id::text, balance, currency FROM accounts WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            ([source, target],),
        )
        rows = {row[0]: row for row in cursor.fetchall()}
        if rows[source][1] < amount:
            return
        cursor.execute(
            "UPDATE accounts SET balance = balance - %s WHERE id = %s RETURNING balance", (amount, source)
        )
        left = cursor.fetchone()[0]
        cursor.execute(
            "UPDATE accounts SET balance = balance + %s WHERE id = %s RETURNING balance", (amount, target)
        )
        right = cursor.fetchone()[0]
        cursor.execute(
            "INSERT INTO ledger_entries (movement_id, account_id, currency, amount, entered_at)"
            " VALUES (%s, %s, %s, %s, now()), (%s, %s, %s, %s, now())",
            (job_id, source, rows[source][2], -amount, job_id, target, rows[source][2], amount),
        )
    receipt = {"_id": job_id, "source": source, "target": target, "amount": amount, "left": left, "right": right}
    _clients["mongo"].get_database("trivet")["plain_receipts"].insert_one(receipt)
    _tell("plain.transfer", job_id)


@app.task(bind=True, name="plain.deposit")  # type: ignore[untyped-decorator]  # Celery has no types
def deposit(self: Any, account: str, amount: int) -> None:
    """Bring money in, tell."""
    job_id = self.request.id
    with _clients["postgres"].transaction(), _clients["postgres"].cursor() as cursor:
        cursor.execute(
            "UPDATE accounts SET balance = balance + %s WHERE id = %s RETURNING currency", (amount, account)
        )
        currency = cursor.fetchone()[0]
        cursor.execute(
            "INSERT INTO ledger_entries (movement_id, account_id, currency, amount, entered_at)"
            " VALUES (%s, NULL, %s, %s, now()), (%s, %s, %s, %s, now())",
            (job_id, currency, -amount, job_id, account, currency, amount),
        )
    _tell("plain.deposit", job_id)


def _tell(task: str, job_id: str) -> None:
    event = json.dumps({"id": job_id, "type": task, "time": datetime.now(UTC).isoformat()})
    with _clients["redis"].pipeline(transaction=False) as pipe:
        pipe.xadd("events", {"event": event}, maxlen=100_000, approximate=True)
        pipe.publish(f"events:{task}", event)
        pipe.execute()
