"""A pass over the documents while MongoDB is slow: a run stops when its time is up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from sqlalchemy import event

from tests.fixtures.jobs import Bank
from tests.fixtures.large_documents import MANY, NOTES, damage, go_on, right, run


@contextmanager
def slowed(bank: Bank, by_s: float) -> Iterator[None]:
    """Each question to MongoDB comes so much later: PostgreSQL hears a word before each."""

    def wait(*told: Any) -> None:
        if told[2] == "SELECT 1":
            time.sleep(by_s)

    event.listen(bank.run.given.engine, "before_cursor_execute", wait)
    try:
        yield
    finally:
        event.remove(bank.run.given.engine, "before_cursor_execute", wait)


def test_a_run_whose_time_is_up_stops_and_the_next_one_goes_on_without_a_gap(large: Bank) -> None:
    for number in (1, 150, 300):
        damage(large, range(number, number + 1))
    limit_s = large.run.given.settings.batch_limit_s

    with slowed(large, 0.5):
        started = time.monotonic()
        parts = [run(large, uuid4())]
        took_s = time.monotonic() - started
    rest = go_on(large)

    assert (parts[0]["complete"], rest[-1]["complete"]) == (False, True)
    assert took_s < limit_s / 2
    assert (rest[-1]["differences"], rest[-1]["repaired"]) == (3, 3)
    assert rest[-1]["collections"][NOTES]["documents"] == MANY
    assert right(large) == MANY
