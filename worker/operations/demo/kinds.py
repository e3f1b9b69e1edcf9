"""The kinds of jobs in the workload: each plans one job, and says what must become of it."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from worker.operations.demo.invalid import invalid_payload
from worker.operations.demo.workload import Payload, Plan, Planned

CURRENCIES: Final = ("EUR", "USD", "JPY")
OPENING_MAX: Final = 500_000
AMOUNT_MAX: Final = 20_000
BEYOND_ALL_FUNDS: Final = 10**12
FUNDED_SHARE: Final = 0.85
POPULAR: Final = 3
POPULAR_SHARE: Final = 0.3
FIRST_NAMES: Final = ("Ada", "Grace", "Edsger", "Barbara", "Tony", "Radia", "Ken", "Frances", "Leslie", "Margaret")

Kind = Callable[[Plan], Planned]


def user(plan: Plan) -> Planned:
    """A user that can be created."""
    number = len(plan.users) + 1
    name = plan.random.choice(FIRST_NAMES)
    payload = {"name": f"{name} {number}", "email": f"{name.lower()}.{number}@example.com"}
    planned = plan.job("users.create", payload)
    plan.users.append(planned)
    return planned


def taken_email(plan: Plan) -> Planned:
    """A user with the email address of one that exists, written in another case."""
    email = plan.random.choice(plan.users).message.payload["email"]
    return plan.job("users.create", {"name": "Mallory", "email": email.upper()}, "email_taken")


def invalid_user(plan: Plan) -> Planned:
    """A user that cannot be."""
    return _spoiled(plan, "users.create", {"name": "Nobody", "email": "nobody@example.com"})


def account(plan: Plan) -> Planned:
    """An account that can be opened; some start with nothing."""
    return open_account(plan, plan.random.choice(CURRENCIES))


def account_of_nobody(plan: Plan) -> Planned:
    """An account for a user that does not exist."""
    payload = {"owner_id": str(plan.uuid()), "currency": "EUR", "opening_balance": 1}
    return plan.job("accounts.open", payload, "user_not_found")


def invalid_account(plan: Plan) -> Planned:
    """An account that cannot be."""
    return _spoiled(plan, "accounts.open", {"owner_id": str(_owner(plan)), "currency": "EUR", "opening_balance": 1})


def deposit(plan: Plan) -> Planned:
    """Money comes in; the account may be one that all use."""
    account, amount = _account(plan), _amount(plan)
    plan.balances[account] += amount
    return plan.job("accounts.deposit", {"account": str(account), "amount": amount})


def deposit_to_nowhere(plan: Plan) -> Planned:
    """A deposit to an account that does not exist."""
    payload = {"account": str(plan.uuid()), "amount": _amount(plan)}
    return plan.job("accounts.deposit", payload, "account_not_found")


def invalid_deposit(plan: Plan) -> Planned:
    """A deposit that cannot be."""
    return _spoiled(plan, "accounts.deposit", {"account": str(_account(plan)), "amount": 1})


def transfer(plan: Plan) -> Planned:
    """Money moves: from what is left of the opening balance of its source, so that the order does not matter."""
    source, target = _pair(plan)
    if not plan.funds[source]:
        return deposit(plan)
    amount = plan.random.randint(1, max(1, plan.funds[source] // 4))
    plan.funds[source] -= amount
    plan.balances[source] -= amount
    plan.balances[target] += amount
    return _transfer(plan, source, target, amount)


def transfer_without_funds(plan: Plan) -> Planned:
    """A transfer of more than all money there is."""
    return _transfer(plan, *_pair(plan), BEYOND_ALL_FUNDS + _amount(plan), "insufficient_funds")


def transfer_to_itself(plan: Plan) -> Planned:
    """A transfer from an account to the same account."""
    account = _account(plan)
    return _transfer(plan, account, account, 1, "same_account")


def transfer_from_nowhere(plan: Plan) -> Planned:
    """A transfer from an account that does not exist."""
    return _transfer(plan, plan.uuid(), _account(plan), _amount(plan), "account_not_found")


def transfer_across_currencies(plan: Plan) -> Planned:
    """A transfer between accounts of different currencies."""
    euro, dollar = (plan.random.choice(plan.accounts[currency]) for currency in CURRENCIES[:2])
    return _transfer(plan, euro, dollar, 1, "currency_mismatch")


def invalid_transfer(plan: Plan) -> Planned:
    """A transfer that cannot be."""
    source, target = _pair(plan)
    return _spoiled(plan, "accounts.transfer", {"source": str(source), "target": str(target), "amount": 1})


def open_account(plan: Plan, currency: str) -> Planned:
    """An account in this currency, with its opening balance to spend."""
    funds = plan.random.randint(1, OPENING_MAX) if plan.random.random() < FUNDED_SHARE else 0
    payload = {"owner_id": str(_owner(plan)), "currency": currency, "opening_balance": funds}
    planned = plan.job("accounts.open", payload)
    account = planned.message.job_id
    plan.accounts.setdefault(currency, []).append(account)
    plan.balances[account] = plan.funds[account] = funds
    return planned


def _transfer(plan: Plan, source: UUID, target: UUID, amount: int, code: str | None = None) -> Planned:
    payload = {"source": str(source), "target": str(target), "amount": amount}
    return plan.job("accounts.transfer", payload, code)


def _spoiled(plan: Plan, task: str, good: Payload) -> Planned:
    return plan.job(task, invalid_payload(plan.random, task, good), "invalid_payload")


def _owner(plan: Plan) -> UUID:
    return plan.random.choice(plan.users).message.job_id


def _amount(plan: Plan) -> int:
    return plan.random.randint(1, AMOUNT_MAX)


def _account(plan: Plan, currency: str | None = None) -> UUID:
    """An account; the first of each currency are popular, so that jobs meet at the same rows."""
    accounts = plan.accounts[currency or plan.random.choice(list(plan.accounts))]
    return plan.random.choice(accounts[:POPULAR] if plan.random.random() < POPULAR_SHARE else accounts)


def _pair(plan: Plan) -> tuple[UUID, UUID]:
    """Two accounts of one currency; the target may be a popular one."""
    currency = plan.random.choice([currency for currency, accounts in plan.accounts.items() if len(accounts) > 1])
    target = _account(plan, currency)
    return plan.random.choice([account for account in plan.accounts[currency] if account != target]), target
