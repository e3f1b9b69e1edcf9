"""A set-based body comes to the same as the plain one, run job by job in order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.fixtures.amounts import TIMES
from tests.fixtures.jobs import Bank, message
from worker.execution.attempt import Ending
from worker.execution.job import JOBS

NAMES = ("rich", "poor", "other", "dollars", "closed", "nobody")
"""Six accounts, of which a tenth of all commands names one that cannot be."""

START = {"rich": 2**53 - 20, "poor": 5, "other": 100, "dollars": 100, "closed": 0}

accounts = st.sampled_from((*["rich", "poor", "other"] * 9, "dollars", "closed", "nobody"))
amounts = st.one_of(st.integers(1, 30), st.just(2**53 - 1))
transfers = st.tuples(
    st.just("transfer"), st.fixed_dictionaries({"source": accounts, "target": accounts, "amount": amounts})
)
singles = st.tuples(
    st.sampled_from(["deposit", "withdraw"]), st.fixed_dictionaries({"account": accounts, "amount": amounts})
)
commands = st.lists(transfers, max_size=30) | st.lists(singles | transfers, max_size=30)

Asked = Sequence[tuple[str, Mapping[str, Any]]]


class World:
    """Accounts by name, at the same start for every list of commands."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.accounts = {name: bank.open(0, "USD" if name == "dollars" else "EUR") for name in START}
        self.accounts["nobody"] = uuid4()
        self.names = {str(account): name for name, account in self.accounts.items()}
        bank.run(message("accounts.close", {"id": self.accounts["closed"]}))

    def run(self, asked: Asked) -> dict[str, Any]:
        """What the commands come to: outcomes, balances and entries, all by name and by place in the list."""
        self._start_again()
        ids = [uuid4() for _ in asked]
        endings = self.bank.run(
            *(
                message(f"accounts.{task}", self._named(payload), job)
                for job, (task, payload) in zip(ids, asked, strict=True)
            )
        )
        return {
            "outcomes": [self._told(ending) for ending in endings],
            "balances": {name: self.bank.balance(self.accounts[name]) for name in START},
            "entries": self._entries(ids),
            "receipts": self._receipts(ids),
        }

    def _start_again(self) -> None:
        with self.bank.run.given.engine.begin() as connection:
            for name, balance in START.items():
                connection.execute(
                    text("UPDATE accounts SET balance = :balance WHERE id = :id"),
                    {"balance": balance, "id": self.accounts[name]},
                )

    def _named(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self.accounts.get(value, value) for key, value in payload.items()}

    def _told(self, ending: Ending) -> tuple[str, object]:
        told = {key: value for key, value in ending.data.items() if key not in {"transfer", "message"}}
        return ending.outcome, {key: self.names.get(value, value) for key, value in told.items()}

    def _entries(self, ids: Sequence[UUID]) -> list[tuple[int, str, int]]:
        rows = self.bank.rows(
            "SELECT movement_id, account_id, amount FROM ledger_entries WHERE movement_id = ANY(:ids)",
            ids=list(ids),
        )
        named = [
            (ids.index(row.movement_id), self.names.get(str(row.account_id), "system"), row.amount) for row in rows
        ]
        return sorted(named)

    def _receipts(self, ids: Sequence[UUID]) -> list[tuple[int, int, int]]:
        places = {str(job): place for place, job in enumerate(ids)}
        found = self.bank.run.given.documents.receipts.find({"_id": {"$in": list(places)}})
        return sorted((places[each["_id"]], each["source_balance"], each["target_balance"]) for each in found)


@contextmanager
def no_set_bodies() -> Iterator[None]:
    plain = {name: replace(job, set_body=None) for name, job in JOBS.items()}
    with mock.patch.dict(JOBS, plain):
        yield


@pytest.mark.generated
def test_any_commands_come_to_the_same_as_a_set_and_one_by_one(bank: Bank) -> None:
    one, other = World(bank), World(bank)

    @settings(max_examples=20 * TIMES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(commands)
    def same(asked: Asked) -> None:
        as_sets = one.run(asked)
        with no_set_bodies():
            plainly = other.run(asked)

        assert as_sets == plainly

    same()
