"""Accounts: opened, filled, emptied and closed, and money that moves between them."""

from typing import Final
from uuid import UUID

from worker.operations.demo.kinds.spoiled import spoiled
from worker.operations.demo.plan import Plan
from worker.operations.demo.workload import Planned

CURRENCIES: Final = ("EUR", "USD", "JPY")
OPENING_MAX: Final = 500_000
AMOUNT_MAX: Final = 20_000
BEYOND_ALL_FUNDS: Final = 10**12
FUNDED_SHARE: Final = 0.85
POPULAR: Final = 3
POPULAR_SHARE: Final = 0.3


def account(plan: Plan) -> Planned:
    """An account that can be opened; some start with nothing."""
    return open_account(plan, plan.random.choice(CURRENCIES))


def account_of_nobody(plan: Plan) -> Planned:
    """An account for a user that does not exist."""
    payload = {"owner_id": str(plan.uuid()), "currency": "EUR", "opening_balance": 1}
    return plan.job("accounts.open", payload, "user_not_found")


def invalid_account(plan: Plan) -> Planned:
    """An account that cannot be."""
    return spoiled(plan, "accounts.open", {"owner_id": str(owner(plan)), "currency": "EUR", "opening_balance": 1})


def deposit(plan: Plan) -> Planned:
    """Money comes in; the account may be one that all use."""
    account, amount = _account(plan), amount_of(plan)
    plan.balances[account] += amount
    return plan.job("accounts.deposit", {"account": str(account), "amount": amount})


def deposit_to_nowhere(plan: Plan) -> Planned:
    """A deposit to an account that does not exist."""
    payload = {"account": str(plan.uuid()), "amount": amount_of(plan)}
    return plan.job("accounts.deposit", payload, "account_not_found")


def invalid_deposit(plan: Plan) -> Planned:
    """A deposit that cannot be."""
    return spoiled(plan, "accounts.deposit", {"account": str(_account(plan)), "amount": 1})


def withdrawal(plan: Plan) -> Planned:
    """Money goes out, of what is left of the opening balance."""
    source, _ = pair(plan)
    if not (amount := spend(plan, source)):
        return deposit(plan)
    plan.balances[source] -= amount
    return plan.job("accounts.withdraw", {"account": str(source), "amount": amount})


def withdrawal_without_funds(plan: Plan) -> Planned:
    """More goes out than all money there is."""
    payload = {"account": str(_account(plan)), "amount": BEYOND_ALL_FUNDS}
    return plan.job("accounts.withdraw", payload, "insufficient_funds")


def transfer(plan: Plan) -> Planned:
    """Money moves: from what is left of the opening balance of its source, so that the order does not matter."""
    source, target = pair(plan)
    if not (amount := spend(plan, source)):
        return deposit(plan)
    plan.balances[source] -= amount
    plan.balances[target] += amount
    return _transfer(plan, source, target, amount)


def transfer_without_funds(plan: Plan) -> Planned:
    """A transfer of more than all money there is."""
    return _transfer(plan, *pair(plan), BEYOND_ALL_FUNDS + amount_of(plan), "insufficient_funds")


def transfer_to_itself(plan: Plan) -> Planned:
    """A transfer from an account to the same account."""
    account = _account(plan)
    return _transfer(plan, account, account, 1, "same_account")


def transfer_from_nowhere(plan: Plan) -> Planned:
    """A transfer from an account that does not exist."""
    return _transfer(plan, plan.uuid(), _account(plan), amount_of(plan), "account_not_found")


def transfer_across_currencies(plan: Plan) -> Planned:
    """A transfer between accounts of different currencies."""
    euro, dollar = (plan.random.choice(plan.accounts[currency]) for currency in CURRENCIES[:2])
    return _transfer(plan, euro, dollar, 1, "currency_mismatch")


def invalid_transfer(plan: Plan) -> Planned:
    """A transfer that cannot be."""
    source, target = pair(plan)
    return spoiled(plan, "accounts.transfer", {"source": str(source), "target": str(target), "amount": 1})


def account_to_close(plan: Plan) -> Planned:
    """An account that stays empty until it is closed; its owner may be one who leaves."""
    holder = plan.random.choice([*plan.leavers, owner(plan)])
    planned = plan.job("accounts.open", {"owner_id": str(holder), "currency": "EUR"})
    plan.balances[planned.message.job_id] = 0
    plan.empty.append(planned.message.job_id)
    plan.holders[planned.message.job_id] = holder
    return planned


def closing(plan: Plan) -> Planned:
    """An empty account closes."""
    if not plan.empty:
        return closing_with_money(plan)
    account = plan.take(plan.empty)
    plan.closed.add(account)
    return plan.job("accounts.close", {"id": str(account)})


def closing_with_money(plan: Plan) -> Planned:
    """An account with money, which does not close."""
    rich = max(plan.balances, key=plan.balances.__getitem__)
    return plan.job("accounts.close", {"id": str(rich)}, "account_not_empty")


def open_account(plan: Plan, currency: str, *, funded: bool = False) -> Planned:
    """An account in this currency, with its opening balance to spend."""
    has_funds = funded or plan.random.random() < FUNDED_SHARE
    funds = plan.random.randint(1_000, OPENING_MAX) if has_funds else 0
    holder = owner(plan)
    payload = {"owner_id": str(holder), "currency": currency, "opening_balance": funds}
    planned = plan.job("accounts.open", payload)
    account = planned.message.job_id
    plan.holders[account] = holder
    plan.accounts.setdefault(currency, []).append(account)
    plan.balances[account] = plan.funds[account] = funds
    return planned


def _transfer(plan: Plan, source: UUID, target: UUID, amount: int, code: str | None = None) -> Planned:
    payload = {"source": str(source), "target": str(target), "amount": amount}
    return plan.job("accounts.transfer", payload, code)


def spend(plan: Plan, source: UUID) -> int:
    """Some of what is left of the account's opening balance; 0 where nothing is."""
    if not plan.funds[source]:
        return 0
    amount = plan.random.randint(1, max(1, plan.funds[source] // 4))
    plan.funds[source] -= amount
    return amount


def owner(plan: Plan) -> UUID:
    """Somebody who stays."""
    return plan.random.choice(plan.users).message.job_id


def amount_of(plan: Plan) -> int:
    """Some money."""
    return plan.random.randint(1, AMOUNT_MAX)


def _account(plan: Plan, currency: str | None = None) -> UUID:
    """An account; the first of each currency are popular, so that jobs meet at the same rows."""
    accounts = plan.accounts[currency or plan.random.choice(list(plan.accounts))]
    return plan.random.choice(accounts[:POPULAR] if plan.random.random() < POPULAR_SHARE else accounts)


def pair(plan: Plan) -> tuple[UUID, UUID]:
    """Two accounts of one currency; the target may be a popular one."""
    currency = plan.random.choice([currency for currency, accounts in plan.accounts.items() if len(accounts) > 1])
    target = _account(plan, currency)
    return plan.random.choice([account for account in plan.accounts[currency] if account != target]), target
