"""What must be right after a run, or its figure does not count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis import Redis

from bench.orders import ACCOUNTS, OPENING_BALANCE, Order
from tests.fixtures.jobs import Bank


class CheckFailed(Exception):
    """Something is not as the work of a run should have left it: its figure does not count."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run should come to: how many transfers succeed, and how many are rejected."""

    succeeded: int
    rejected: int

    @classmethod
    def of(cls, jobs: Sequence[Order]) -> "Expected":
        """An order is rejected when it asks for more than there is in all accounts."""
        rejected = sum(order.amount > ACCOUNTS * OPENING_BALANCE for order in jobs)
        return cls(len(jobs) - rejected, rejected)

    @property
    def jobs(self) -> int:
        """All of them: each has an event."""
        return self.succeeded + self.rejected


def require(what: str, wanted: Any, found: Any) -> None:
    """Raise `CheckFailed` unless they are equal."""
    if wanted != found:
        raise CheckFailed(f"{what}: {wanted} expected, {found} found")


_DRIFT = """
    SELECT count(*) FROM accounts
    WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE account_id = accounts.id)
"""


def check_money(bank: Bank, transfers: int) -> None:
    """Money is conserved, each balance is the sum of its entries, and every transfer has its two."""
    require("sum of the ledger", 0, bank.value("SELECT sum(amount) FROM ledger_entries"))
    require("sum of the balances", ACCOUNTS * OPENING_BALANCE, bank.value("SELECT sum(balance) FROM accounts"))
    require("balances that differ from their entries", 0, bank.value(_DRIFT))
    # An opening balance has two entries too.
    require("ledger entries", 2 * (transfers + ACCOUNTS), bank.value("SELECT count(*) FROM ledger_entries"))


def check_receipts(bank: Bank, collection: str, transfers: int) -> None:
    """Every transfer has its receipt."""
    require("receipts", transfers, bank.run.given.documents[collection].count_documents({}))


def check_outcomes(bank: Bank, task: str, expected: Expected) -> None:
    """Every job of ours has ended, as it should."""
    count = "SELECT count(*) FROM trivet.jobs WHERE task = :task AND ended_at IS NOT NULL AND state = :state"
    for state, wanted in (("succeeded", expected.succeeded), ("rejected", expected.rejected)):
        require(f"jobs {state}", wanted, bank.value(count, task=task, state=state))


def first_events(redis: Redis) -> dict[str, int]:
    """The ids of the events in the stream, and when each came first, in milliseconds, as Redis stamped it."""
    entries: Any = redis.xrange("events")
    first: dict[str, int] = {}
    for entry_id, fields in entries:
        first.setdefault(orjson.loads(fields[b"event"])["id"], int(entry_id.partition(b"-")[0]))
    return first
