"""Documents that are put as a set come to the same as those that are put one by one."""

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.amounts import TIMES
from tests.fixtures.copies import documents_read
from tests.fixtures.jobs import Bank, message
from worker.execution.job import JOBS

Asked = list[tuple[str, str, int | None]]
"""What to do with which document, and over which version."""

asked_for = st.lists(
    st.tuples(st.sampled_from(["put"] * 6 + ["delete"]), st.sampled_from("abc"), st.none() | st.integers(0, 4)),
    max_size=12,
)


def come_to(bank: Bank, asked: Asked, family: str) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """Answers, documents and rows, without what tells one family of ids from the other."""
    endings = bank.run(
        *(
            message(
                f"documents.{verb}",
                {"collection": "notes", "id": f"{family}{key}", "if_version": version}
                | ({"body": {"n": number}} if verb == "put" else {}),
            )
            for number, (verb, key, version) in enumerate(asked)
        )
    )
    told = [ending.data.get("version", ending.data.get("code")) for ending in endings]
    mine = f"notes/{family}"
    read = documents_read(bank.run.given)
    rows = bank.rows("SELECT id, version, body FROM documents WHERE starts_with(id, :mine) ORDER BY id", mine=mine)
    return (
        told,
        {key.removeprefix(mine): body for key, body in read.items() if key.startswith(mine)},
        [(row.id.removeprefix(mine), row.version, row.body) for row in rows],
    )


@pytest.mark.generated
def test_any_puts_come_to_the_same_as_a_set_and_one_by_one(bank: Bank) -> None:
    plain = {"documents.put": replace(JOBS["documents.put"], set_body=None)}
    families = iter(range(1_000_000))

    @settings(max_examples=20 * TIMES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(asked_for)
    def same(asked: Asked) -> None:
        number = next(families)
        as_sets = come_to(bank, asked, f"{number}s")
        with mock.patch.dict(JOBS, plain):
            plainly = come_to(bank, asked, f"{number}p")

        assert as_sets == plainly

    same()
    bank.check()
