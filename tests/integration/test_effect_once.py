from uuid import uuid4

import pytest

from tests.fixtures.jobs import Bank, message


def test_two_opposite_transfers_delivered_twice_move_the_money_once(bank: Bank) -> None:
    alice, bob = bank.open(100), bank.open(100)
    there = message("accounts.transfer", {"source": alice, "target": bob, "amount": 30})
    back = message("accounts.transfer", {"source": bob, "target": alice, "amount": 10})

    bank.run(there, back, there, back)
    bank.run(back, there)

    assert (bank.balance(alice), bank.balance(bob)) == (80, 120)
    bank.check()


def test_the_same_id_with_another_payload_is_refused_and_the_first_outcome_stands(bank: Bank) -> None:
    alice, bob, job_id = bank.open(100), bank.open(100), uuid4()
    first = message("accounts.transfer", {"source": alice, "target": bob, "amount": 30}, job_id)
    other = message("accounts.transfer", {"source": alice, "target": bob, "amount": 31}, job_id)

    endings = bank.run(first, other, other) + bank.run(other, first)

    codes = [(ending.outcome.value, ending.data.get("code")) for ending in endings]
    conflict = ("rejected", "idempotency_conflict")
    assert codes == [("succeeded", None), conflict, conflict, conflict, ("succeeded", None)]
    assert bank.balance(alice) == 70
    assert bank.value("SELECT count(*) FROM trivet.job_conflicts") == 1
    conflicts = [event for event in bank.events() if event["data"].get("code") == "idempotency_conflict"]
    assert len(conflicts) == 1
    assert conflicts[0]["subject"] == f"jobs/{job_id}"
    bank.check()


@pytest.mark.parametrize("way", ["memory", "flush", "statement", "undeclared"])
def test_what_a_refused_job_changed_is_undone_and_its_neighbours_stay(bank: Bank, way: str) -> None:
    spoiled, other = bank.open(100), bank.open(100)
    jobs = [
        message("testing.spoil", {"account": other, "way": "keep"}),
        message("testing.spoil", {"account": spoiled, "way": way}),
        message("testing.spoil", {"account": other, "way": "keep"}),
        message("testing.spoil", {"account": spoiled, "way": "keep"}),
    ]

    endings = bank.run(*jobs)

    assert [ending.outcome.value for ending in endings] == ["succeeded", "rejected", "succeeded", "succeeded"]
    assert (bank.balance(spoiled), bank.balance(other)) == (101, 102)
