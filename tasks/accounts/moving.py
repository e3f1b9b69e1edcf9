"""Money that moves at once: deposits, withdrawals, transfers; one by one, or a whole batch in two statements."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from tasks.accounts.postings import Moved, entries_of, receipt_of, refuse_same, refuse_unlike, write_all
from tasks.model import Account
from worker import Command, MinorUnits, Rejected, Result, UnitOfWork, job


class Deposit(Command):
    """Bring money in from outside."""

    account: UUID
    amount: MinorUnits


class Deposited(Result):
    """The account, and its balance after the deposit."""

    account: UUID
    balance: int


class Withdraw(Command):
    """Take money out."""

    account: UUID
    amount: MinorUnits


class Withdrawn(Result):
    """The account, and its balance after the withdrawal."""

    account: UUID
    balance: int


class Transfer(Command):
    """Move money between two accounts of one currency."""

    source: UUID
    target: UUID
    amount: MinorUnits


class Transferred(Result):
    """The transfer, and both balances after it."""

    transfer: UUID
    source_balance: int
    target_balance: int


def its_account(command: Deposit | Withdraw) -> Iterator[tuple[type[Account], UUID]]:
    """The account that the money comes to or goes from."""
    yield Account, command.account


def both_accounts(command: Transfer) -> Iterator[tuple[type[Account], UUID]]:
    """The accounts on both sides."""
    yield Account, command.source
    yield Account, command.target


@job("accounts.deposit", subject="accounts/{account}", locks=its_account)
def deposit(command: Deposit, work: UnitOfWork) -> Deposited:
    """Take from the currency's system account, give to the account."""
    return _deposit(command, work).write(work.session)


@job("accounts.withdraw", subject="accounts/{account}", locks=its_account)
def withdraw(command: Withdraw, work: UnitOfWork) -> Withdrawn:
    """Take from the account, give to the currency's system account."""
    return _withdraw(command, work).write(work.session)


@job("accounts.transfer", subject="accounts/{source}", locks=both_accounts)
def transfer(command: Transfer, work: UnitOfWork) -> Transferred:
    """Take from the source, give to the target, and leave a receipt."""
    return _transfer(command, work).write(work.session)


def _deposit(command: Deposit, work: UnitOfWork) -> Moved[Deposited]:
    account = work.get(Account, command.account)
    account.deposit(command.amount)
    entries = entries_of(work, account.currency, None, account, command.amount)
    return Moved(Deposited(account=account.id, balance=account.balance), (account,), entries)


def _withdraw(command: Withdraw, work: UnitOfWork) -> Moved[Withdrawn]:
    account = work.get(Account, command.account)
    account.withdraw(command.amount)
    entries = entries_of(work, account.currency, account, None, command.amount)
    return Moved(Withdrawn(account=account.id, balance=account.balance), (account,), entries)


def _transfer(command: Transfer, work: UnitOfWork) -> Moved[Transferred]:
    refuse_same(command.source, command.target)
    source, target = work.get(Account, command.source), work.get(Account, command.target)
    refuse_unlike(source, target)
    source.pay(target, command.amount)
    work.store(receipt_of(work, source, target, command.amount))
    entries = entries_of(work, source.currency, source, target, command.amount)
    answer = Transferred(transfer=work.job_id, source_balance=source.balance, target_balance=target.balance)
    return Moved(answer, (source, target), entries)


@deposit.batch
def deposit_all(asked: Sequence[tuple[Deposit, UnitOfWork]]) -> Sequence[Result | Rejected]:
    """Replay the deposits in memory, in order, and write them at once."""
    return _replay(_deposit, asked)


@withdraw.batch
def withdraw_all(asked: Sequence[tuple[Withdraw, UnitOfWork]]) -> Sequence[Result | Rejected]:
    """Replay the withdrawals in memory, in order, and write them at once."""
    return _replay(_withdraw, asked)


@transfer.batch
def transfer_all(asked: Sequence[tuple[Transfer, UnitOfWork]]) -> Sequence[Result | Rejected]:
    """Replay the transfers in memory, in order, and write them at once.

    The accounts are locked, so this is the order in which they take effect. (A statement that checked funds while
    it locks would check a balance that another transaction has just changed.)
    """
    return _replay(_transfer, asked)


def _replay(
    move: Callable[[Any, UnitOfWork], Moved[Any]], asked: Sequence[tuple[Any, UnitOfWork]]
) -> list[Result | Rejected]:
    outcomes = [_try(move, command, work) for command, work in asked]
    write_all(asked[0][1].session, [outcome for outcome in outcomes if isinstance(outcome, Moved)])
    return [outcome.answer if isinstance(outcome, Moved) else outcome for outcome in outcomes]


def _try(move: Callable[[Any, UnitOfWork], Moved[Any]], command: Any, work: UnitOfWork) -> Moved[Any] | Rejected:
    # A movement that is rejected has changed nothing: the rules of `Account` check before they change.
    try:
        return move(command, work)
    except Rejected as rejection:
        return rejection
