"""Accounts and holds under any sequence of commands: what they come to is what a dictionary says."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.fixtures.amounts import TIMES
from tests.fixtures.jobs import Bank, empty, message

AMOUNTS = st.integers(1, 60)


class Money(RuleBasedStateMachine):
    """The model: `balances`, `closed`, and `holds` as source, target and amount while they are open."""

    bank: Bank
    accounts = Bundle("accounts")
    holds = Bundle("holds")

    @initialize()
    def start(self) -> None:
        empty(self.bank.run.given)
        self.owner = self.bank.user()
        self.balances: dict[UUID, int] = {}
        self.closed: set[UUID] = set()
        self.open_holds: dict[UUID, tuple[UUID, UUID, int]] = {}

    def do(self, task: str, job_id: UUID | None = None, /, **payload: Any) -> str:
        (ending,) = self.bank.run(message(f"accounts.{task}", payload, job_id))
        return "succeeded" if ending.outcome == "succeeded" else str(ending.data["code"])

    def available(self, account: UUID) -> int:
        return self.balances[account] - sum(
            amount for source, _, amount in self.open_holds.values() if source == account
        )

    def refusal(self, source: UUID, target: UUID, amount: int) -> str | None:
        """Why money cannot go from one to the other."""
        if source == target:
            return "same_account"
        if source in self.closed:
            return "account_closed"
        if self.available(source) < amount:
            return "insufficient_funds"
        return "account_closed" if target in self.closed else None

    @rule(target=accounts, balance=st.integers(0, 100))
    def open(self, balance: int) -> UUID:
        account = uuid4()
        payload = {"owner_id": self.owner, "currency": "EUR", "opening_balance": balance}
        assert self.do("open", account, **payload) == "succeeded"
        self.balances[account] = balance
        return account

    @rule(account=accounts, amount=AMOUNTS)
    def deposit(self, account: UUID, amount: int) -> None:
        expected = "account_closed" if account in self.closed else "succeeded"
        assert self.do("deposit", account=account, amount=amount) == expected
        if expected == "succeeded":
            self.balances[account] += amount

    @rule(account=accounts, amount=AMOUNTS)
    def withdraw(self, account: UUID, amount: int) -> None:
        enough = self.available(account) >= amount
        refused = "account_closed" if account in self.closed else "insufficient_funds"
        expected = "succeeded" if enough and account not in self.closed else refused
        assert self.do("withdraw", account=account, amount=amount) == expected
        if expected == "succeeded":
            self.balances[account] -= amount

    @rule(source=accounts, to=accounts, amount=AMOUNTS)
    def transfer(self, source: UUID, to: UUID, amount: int) -> None:
        refused = self.refusal(source, to, amount)
        assert self.do("transfer", source=source, target=to, amount=amount) == (refused or "succeeded")
        if refused is None:
            self.move(source, to, amount)

    @rule(target=holds, source=accounts, to=accounts, amount=AMOUNTS)
    def hold(self, source: UUID, to: UUID, amount: int) -> UUID:
        hold = uuid4()
        refused = self.refusal(source, to, amount)
        if refused == "insufficient_funds" and to in self.closed:
            refused = "account_closed"  # a hold looks at its target first: no money moves yet
        assert self.do("hold", hold, source=source, target=to, amount=amount) == (refused or "succeeded")
        if refused is None:
            self.open_holds[hold] = (source, to, amount)
        return hold

    @rule(hold=holds, part=st.none() | AMOUNTS)
    def capture(self, hold: UUID, part: int | None) -> None:
        known = self.bank.value("SELECT count(*) FROM holds WHERE id = :id", id=hold)
        source, to, amount = self.open_holds.get(hold, (hold, hold, 0))
        match hold in self.open_holds, part:
            case False, _:
                expected = "hold_resolved" if known else "hold_not_found"
            case True, int() if part > amount:
                expected = "invalid_payload"
            case _:
                expected = "account_closed" if to in self.closed else "succeeded"
        assert self.do("capture", hold=hold, amount=part) == expected
        if expected == "succeeded":
            del self.open_holds[hold]
            self.move(source, to, part or amount)

    @rule(hold=holds)
    def release(self, hold: UUID) -> None:
        known = self.bank.value("SELECT count(*) FROM holds WHERE id = :id", id=hold)
        resolved = "hold_resolved" if known else "hold_not_found"
        assert self.do("release", hold=hold) == ("succeeded" if hold in self.open_holds else resolved)
        self.open_holds.pop(hold, None)

    @rule(account=accounts)
    def close(self, account: UUID) -> None:
        empty_now = "account_not_empty" if self.balances[account] else "succeeded"
        expected = "account_closed" if account in self.closed else empty_now
        assert self.do("close", id=account) == expected
        if expected == "succeeded":
            self.closed.add(account)

    def move(self, source: UUID, to: UUID, amount: int) -> None:
        self.balances[source] -= amount
        self.balances[to] += amount

    @invariant()
    def balances_are_those_of_the_model(self) -> None:
        rows = self.bank.rows("SELECT id, balance, held FROM accounts")
        assert {row.id: row.balance for row in rows} == self.balances
        assert {row.id: row.balance - row.held for row in rows} == {
            account: self.available(account) for account in self.balances
        }

    def teardown(self) -> None:
        self.bank.check()


@pytest.mark.generated
def test_accounts_and_holds_are_what_the_model_says(bank: Bank) -> None:
    class Ours(Money):
        pass

    Ours.bank = bank
    run_state_machine_as_test(
        Ours,
        settings=settings(
            max_examples=5 * TIMES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
