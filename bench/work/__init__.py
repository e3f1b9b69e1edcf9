"""The work of a transfer by plain drivers, once for plain Celery and for every Python peer.

Peers run it in environments of their own, where the project is not installed: nothing but psycopg, pymongo and
redis is imported here.
"""

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bench.orders import Order

LOCK: Final = "SELECT id::text, balance, currency FROM accounts WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
"""In the order of the ids, so that opposite transfers wait for each other instead of deadlocking."""

MOVE: Final = "UPDATE accounts SET balance = balance + %s WHERE id = %s RETURNING balance"

RECORD: Final = (
    "INSERT INTO ledger_entries (movement_id, account_id, currency, amount, entered_at)"
    " VALUES (%s, %s, %s, %s, now()), (%s, %s, %s, %s, now())"
)

EVENTS_KEPT: Final = 100_000
"""About as many entries does the stream keep, as Trivet's own by default."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are."""

    postgres: str
    mongo: str
    redis: str

    @classmethod
    def told(cls) -> "Addresses":
        """As the environment says."""
        return cls(*(os.environ[f"TRIVET_{name}_URL"] for name in ("POSTGRES", "MONGO", "REDIS")))


def entries(asked: Order, currency: str) -> tuple[Any, ...]:
    """Return what `RECORD` takes: the two ledger entries, which sum to zero."""
    return asked.id, asked.source, currency, -asked.amount, asked.id, asked.target, currency, asked.amount


def receipt(asked: Order, left: int, right: int) -> dict[str, Any]:
    """Return the document, with both balances afterwards."""
    parties = {"_id": asked.id, "source": asked.source, "target": asked.target}
    return parties | {"amount": asked.amount, "left": left, "right": right}


def event(task: str, job_id: str) -> str:
    """Return the event of a finished job, as JSON."""
    return json.dumps({"id": job_id, "type": task, "time": datetime.now(UTC).isoformat()})


def orders_on_stdin() -> list[Order]:
    """Return the orders that a peer's enqueuing script is given: one JSON object a line."""
    return [Order(**json.loads(line)) for line in sys.stdin]
