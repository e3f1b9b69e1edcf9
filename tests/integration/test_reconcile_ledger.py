"""The money is proved to add up: planted damage of each kind is found and told, and never touched."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.fixtures.jobs import Bank, message
from worker.stores.resources import Resources

SYSTEM = "INSERT INTO ledger_entries (movement_id, account_id, currency, amount, entered_at) VALUES "


def reconcile(bank: Bank) -> dict[str, Any]:
    (ending,) = bank.run(message("maintenance.reconcile_ledger", {}))
    assert ending.outcome == "succeeded", ending
    return dict(ending.data)


def plant(clients: Resources, *statements: str, **values: Any) -> None:
    """Damage what constraints and triggers protect."""
    with clients.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            connection.execute(text(statement), values)


def money(bank: Bank) -> list[Any]:
    """Everything there is of money."""
    tables = ("accounts", "ledger_entries", "holds")
    return [list(bank.rows(f"TABLE {table}")) for table in tables]


@pytest.fixture
def moved(bank: Bank) -> tuple[UUID, UUID]:
    """Two accounts with 70 and 130, of which 20 and nothing are held."""
    source, target = bank.open_many(2, 100)
    bank.run(message("accounts.transfer", {"source": source, "target": target, "amount": 30}))
    bank.run(message("accounts.hold", {"source": source, "target": target, "amount": 20}))
    return source, target


def test_money_that_adds_up_is_told_in_figures_and_has_no_violation(bank: Bank, moved: tuple[UUID, UUID]) -> None:
    found = reconcile(bank)

    assert (found["accounts"], found["entries"], found["open_holds"]) == (2, 6, 1)
    assert (found["violations"], found["first"], set(found["by_law"].values())) == (0, [], {0})


DAMAGE = {
    "balance": ["UPDATE accounts SET balance = balance + 7 WHERE id = :source"],
    "held": ["UPDATE accounts SET held = held - 1 WHERE id = :source"],
    "held, held_above_balance": ["UPDATE holds SET amount = 500"],
    "balance, currency_sum, movement_sum": [f"{SYSTEM} (:movement, :source, 'EUR', 5, now())"],
    "currency_sum, movement_sum": [f"{SYSTEM} (:movement, NULL, 'USD', -5, now())"],
    "movement_sum": [f"{SYSTEM} (:movement, NULL, 'EUR', -5, now()), (:other, NULL, 'EUR', 5, now())"],
    "currency_sum, entry_currency, movement_sum": [
        "UPDATE ledger_entries SET currency = 'USD' WHERE account_id = :target AND amount = 30"
    ],
    "balance, below_zero, held_above_balance": ["UPDATE accounts SET balance = -4 WHERE id = :source"],
}


@pytest.mark.parametrize("laws", DAMAGE)
def test_damage_is_found_told_and_never_touched(bank: Bank, moved: tuple[UUID, UUID], laws: str) -> None:
    source, target = moved
    constraints = ("accounts_balance_check", "accounts_held_check")
    lifted = [f"ALTER TABLE accounts DROP CONSTRAINT {name}" for name in constraints]
    rules = ("balance BETWEEN 0 AND 9007199254740991", "held BETWEEN 0 AND balance")
    restored = [
        f"ALTER TABLE accounts ADD CONSTRAINT {name} CHECK ({rule})"
        for name, rule in zip(constraints, rules, strict=True)
    ]
    given_ids = {"source": source, "target": target, "movement": uuid4(), "other": uuid4()}
    clients = bank.run.given
    plant(clients, *lifted)
    try:
        for statement in DAMAGE[laws]:
            plant(clients, statement, **{name: key for name, key in given_ids.items() if f":{name}" in statement})
        before = money(bank)

        found = reconcile(bank)

        assert ", ".join(law for law, count in sorted(found["by_law"].items()) if count) == laws
        assert found["violations"] == len(found["first"]) >= 1
        assert money(bank) == before
    finally:
        plant(clients, "TRUNCATE holds, ledger_entries, accounts CASCADE", *restored)


def test_a_violation_is_told_with_what_should_be_and_what_is(bank: Bank, moved: tuple[UUID, UUID]) -> None:
    plant(bank.run.given, "UPDATE accounts SET balance = 2000 WHERE id = :source", source=moved[0])

    found = reconcile(bank)

    told = {"law": "balance", "about": str(moved[0]), "currency": "EUR", "expected": 70, "found": 2000}
    assert found["first"] == [told]
    report = bank.run.given.documents.reports.find_one({"_id": f"reconcile_ledger:{datetime.now(UTC):%F}"})
    assert report is not None
    assert (report["first"], report["deleted"]) == ([told], False)
    assert str(moved[0]) not in str(bank.events()[-1]["data"])


def test_damage_of_any_size_is_counted_in_full_and_told_in_part(bank: Bank, moved: tuple[UUID, UUID]) -> None:
    many = (
        "INSERT INTO ledger_entries (movement_id, currency, amount, entered_at)"
        " SELECT gen_random_uuid(), 'EUR', 9223372036854775807, now() FROM generate_series(1, 3000)"
    )
    plant(bank.run.given, many)

    found = reconcile(bank)

    assert found["by_law"]["movement_sum"] == 3_000
    assert len([each for each in found["first"] if each["law"] == "movement_sum"]) == 20
    assert max(each["found"] for each in found["first"]) == 2**63 - 1


def test_whatever_amount_a_balance_is_off_by_is_found(bank: Bank, moved: tuple[UUID, UUID]) -> None:
    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.tuples(st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1)))
    def holds(balances: tuple[int, int]) -> None:
        for account, balance in zip(moved, balances, strict=True):
            plant(
                bank.run.given, "UPDATE accounts SET balance = :b, held = 0 WHERE id = :id", b=balance, id=account
            )

        found = reconcile(bank)

        assert found["by_law"]["balance"] == sum(there != right for there, right in zip(balances, (70, 130)))  # noqa: B905 - two of each

    holds()
