"""The comparator of the single body: the same transfer through the ORM as an ordinary Celery task.

The rules are the model's own, one transaction a job with both accounts locked in the order of their ids, a receipt
in MongoDB with majority, an event for every end, rejections too. Run by the benchmark, never by hand.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pymongo
import redis
from celery import signals
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from bench.plain_app import plain_app
from tasks.model import Account, LedgerEntry
from worker import Rejected

app = plain_app("plain_orm")

_clients: dict[str, Any] = {}


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def connect(**_: object) -> None:
    """Open the clients of a pool process; the engine keeps its connection."""
    url = os.environ["TRIVET_POSTGRES_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    _clients["postgres"] = create_engine(url, pool_size=1)
    _clients["mongo"] = pymongo.MongoClient[dict[str, Any]](os.environ["TRIVET_MONGO_URL"], w="majority")
    _clients["redis"] = redis.Redis.from_url(os.environ["TRIVET_REDIS_URL"])


@app.task(bind=True, name="plain_orm.transfer")  # type: ignore[untyped-decorator]  # Celery has no types
def transfer(self: Any, source: str, target: str, amount: int) -> None:
    """Move the money, leave the receipt, tell; or tell why not."""
    try:
        receipt = _move(self.request.id, UUID(source), UUID(target), amount)
    except Rejected as rejection:
        _tell("plain_orm.transfer.rejected", self.request.id, {"code": rejection.code, "message": str(rejection)})
        return
    _clients["mongo"].get_database("trivet")["plain_receipts"].insert_one(receipt)
    _tell("plain_orm.transfer.succeeded", self.request.id, {"amount": amount})


def _move(job_id: str, source_id: UUID, target_id: UUID, amount: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    with Session(_clients["postgres"], expire_on_commit=False) as session, session.begin():
        ids = select(Account).where(Account.id.in_([source_id, target_id])).order_by(Account.id)
        rows = {row.id: row for row in session.scalars(ids.with_for_update(key_share=True))}
        source, target = rows[source_id], rows[target_id]
        source.pay(target, amount)
        for account, leg in ((source, -amount), (target, amount)):
            entry = {"account_id": account.id, "currency": account.currency, "balance": account.balance}
            session.add(LedgerEntry(movement_id=UUID(job_id), amount=leg, entered_at=now, **entry))
    accounts = {"source": str(source_id), "target": str(target_id), "currency": source.currency}
    balances = {"source_balance": source.balance, "target_balance": target.balance}
    return {"_id": job_id, "amount": amount, "time": now, **accounts, **balances}


def _tell(kind: str, job_id: str, data: dict[str, Any]) -> None:
    event = json.dumps({"id": job_id, "type": kind, "time": datetime.now(UTC).isoformat(), "data": data})
    with _clients["redis"].pipeline(transaction=False) as pipe:
        pipe.xadd("events", {"event": event}, maxlen=100_000, approximate=True)
        pipe.publish(f"events:{kind}", event)
        pipe.execute()
