"""Accounts: open and close them, fill them, move money between them at once or in two steps."""

from tasks.accounts.holding import Capture, HoldMoney, Release, capture, hold, release
from tasks.accounts.moving import Deposit, Transfer, Withdraw, deposit, transfer, withdraw
from tasks.accounts.opening import Close, Open, close, open_account
from tasks.accounts.postings import Receipt

__all__ = [
    "Capture",
    "Close",
    "Deposit",
    "HoldMoney",
    "Open",
    "Receipt",
    "Release",
    "Transfer",
    "Withdraw",
    "capture",
    "close",
    "deposit",
    "hold",
    "open_account",
    "release",
    "transfer",
    "withdraw",
]
