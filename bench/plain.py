"""The comparator: a transfer and a deposit as ordinary Celery tasks, as a competent user writes them.

One transaction a job with psycopg, prefork, late acknowledgement, connections that stay open, a receipt in MongoDB
with majority, an event published and appended to the stream. Run by `trivet bench`, and by `bench.kills` through
`bench.stock`, never by hand.
"""

from typing import Any

from celery import signals

from bench.orders import Order
from bench.plain_app import plain_app
from bench.work import MOVE, RECORD
from bench.work.blocking import Stores

app = plain_app("plain")

_opened: list[Stores] = []


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def connect(**_: object) -> None:
    """Open the clients of a pool process."""
    _opened.append(Stores())


@app.task(bind=True, name="plain.transfer")  # type: ignore[untyped-decorator]  # Celery has no types
def transfer(self: Any, source: str, target: str, amount: int) -> None:
    """Move the money, leave the receipt, tell."""
    _opened[0].transfer("plain", Order(self.request.id, source, target, amount))


@app.task(bind=True, name="plain.deposit")  # type: ignore[untyped-decorator]  # Celery has no types
def deposit(self: Any, account: str, amount: int) -> None:
    """Bring money in, tell."""
    stores, job_id = _opened[0], self.request.id
    with stores.postgres.transaction(), stores.postgres.cursor() as cursor:
        cursor.execute(f"{MOVE}, currency", (amount, account))
        found: Any = cursor.fetchone()
        cursor.execute(RECORD, (job_id, None, found[1], -amount, job_id, account, found[1], amount))
    stores.tell("plain.deposit", job_id)
