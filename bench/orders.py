"""The work of the benchmark, as plain data: transfers between seeded accounts, the same for every contestant."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

ACCOUNTS: Final = 1_000
OPENING_BALANCE: Final = 1_000_000
"""In minor units: no transfer of the benchmark lacks funds, unless it is made to."""


@dataclass(frozen=True, slots=True)
class Order:
    """One transfer: its id (a task id where the queue knows such), both accounts, the amount in minor units."""

    id: str
    source: str
    target: str
    amount: int


def orders(accounts: Sequence[UUID], count: int, *, seed: int = 7, rejected: float = 0.0) -> list[Order]:
    """Small transfers between random accounts; a share `rejected` of them (0 to 1) asks for more than there is."""
    chance = random.Random(seed)
    asked = []
    for _ in range(count):
        source, target = chance.sample(accounts, 2)
        amount = 10**12 if chance.random() < rejected else chance.randint(1, 3)
        job_id = UUID(int=chance.getrandbits(128), version=4)
        asked.append(Order(str(job_id), str(source), str(target), amount))
    return asked
