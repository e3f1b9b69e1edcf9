"""Maintenance takes no payload: what several ask for at the same time is done once."""

from collections.abc import Sequence
from typing import TypeVar

from worker import Command, Job, Result, UnitOfWork

C = TypeVar("C", bound=Command)
R = TypeVar("R", bound=Result)


def once(job: Job[C, R], asked: Sequence[tuple[C, UnitOfWork]]) -> list[R]:
    """Do what the first one asks, and answer them all."""
    answer = job(*asked[0])
    return [answer] * len(asked)
