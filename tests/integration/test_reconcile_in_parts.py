"""A pass over the documents that one run cannot finish: it stops somewhere, and another job goes on from there."""

import json
import signal
from typing import Any
from uuid import uuid4

import pytest
from bson import Binary, Decimal128, MaxKey
from bson.raw_bson import RawBSONDocument
from sqlalchemy.orm import Session

from tasks.maintenance.comparing import NOTED_BYTES_MAX
from tasks.model.projections import PAGE_BYTES
from tests.fixtures.crashes import RunAndCrash
from tests.fixtures.jobs import Bank, message
from tests.fixtures.large_documents import (
    FILL,
    LARGE,
    MANY,
    NOTES,
    TASK,
    damage,
    go_on,
    key,
    next_jobs,
    notes,
    right,
    run,
)
from worker.delivery import copies as listing
from worker.delivery.copies import Copies


def test_damage_before_at_and_behind_each_stop_is_found_once_and_repaired(large: Bank) -> None:
    copies = large.run.given.documents[NOTES]
    damage(large, range(1, 101))
    copies.delete_many({"_id": {"$gte": key(250)}})
    copies.insert_one({"_id": key(9_000), "body": {}})

    first = run(large, uuid4())
    rest = go_on(large)

    assert (first["complete"], [part["complete"] for part in rest[:-1]]) == (False, [False] * (len(rest) - 1))
    last = rest[-1]
    assert (last["complete"], last["differences"], last["repaired"], last["left"]) == (True, 152, 152, 0)
    checked = {"documents": MANY - 51 + 1, "missing": 51, "altered": 100, "extra": 1}
    assert last["collections"][NOTES] == checked
    assert right(large) == MANY
    again = [run(large, uuid4()), *go_on(large)][-1]
    assert (again["complete"], again["differences"]) == (True, 0)


def test_each_part_tells_of_the_whole_pass_so_far_and_so_does_the_report_of_the_day(large: Bank) -> None:
    damage(large, range(1, 101))

    parts = [run(large, uuid4()), *go_on(large)]

    repaired = [part["repaired"] for part in parts]
    assert len(parts) > 2
    assert repaired == sorted(repaired)
    assert repaired[-1] == 100
    assert [each["id"] for each in parts[-1]["first"]] == [key(number) for number in range(1, 101)]
    (report,) = large.rows("SELECT body FROM reports")
    told = json.loads(report.body)
    assert {name: told[name] for name in parts[-1]} == parts[-1]


def test_the_job_that_goes_on_is_enqueued_and_owes_no_more_than_one_run_may_repair(large: Bank) -> None:
    damage(large, range(1, 101))

    first = run(large, uuid4())

    (following,) = next_jobs(large)
    (waiting,) = large.run.given.redis.lrange("maintenance", 0, -1)
    assert json.loads(waiting)["headers"]["id"] == str(following)
    assert NOTED_BYTES_MAX // LARGE <= first["repaired"] <= (NOTED_BYTES_MAX + PAGE_BYTES) // LARGE + 2


def test_who_asks_anew_is_told_of_everything_and_the_pass_that_was_begun_goes_on_by_itself(large: Bank) -> None:
    damage(large, range(1, 101))
    run(large, uuid4())
    (begun,) = next_jobs(large)
    damage(large, range(1, 3))

    anew = run(large, uuid4())

    assert anew["first"][0]["id"] == key(1)
    assert begun in next_jobs(large)
    for job_id in next_jobs(large):
        run(large, job_id)
    while left := next_jobs(large):
        run(large, left[0])
    assert right(large) == MANY


def test_a_job_that_is_to_go_on_and_one_that_asks_anew_get_one_answer_about_everything(large: Bank) -> None:
    damage(large, range(1, 101))
    run(large, uuid4())
    (following,) = next_jobs(large)
    damage(large, range(1, 3))

    together = run(large, uuid4(), following)

    told = [each["id"] for each in together["first"]]
    assert told[:2] == [key(1), key(2)]
    assert key(3) not in told
    assert len(next_jobs(large)) == 1


@pytest.mark.parametrize("run_number", [1, 2])
def test_a_crash_takes_back_the_position_together_with_what_was_found(
    large: Bank, run_and_crash: RunAndCrash, run_number: int
) -> None:
    damage(large, range(1, 121))
    before = run(large, uuid4())["repaired"] if run_number > 1 else 0
    job_id = next_jobs(large)[0] if run_number > 1 else uuid4()
    saved = large.rows("SELECT * FROM reconciliations")

    assert run_and_crash("after_record", "kill", message(TASK, {}, job_id)) == -signal.SIGKILL

    assert large.rows("SELECT * FROM reconciliations") == saved
    assert right(large) == MANY - 120 + before
    parts = [run(large, job_id), *go_on(large)]
    assert (parts[-1]["complete"], parts[-1]["repaired"]) == (True, 120)
    assert right(large) == MANY


def test_a_crash_after_the_commit_keeps_the_position_and_what_was_found(
    large: Bank, run_and_crash: RunAndCrash
) -> None:
    damage(large, range(1, 121))
    job_id = uuid4()

    assert run_and_crash("after_commit", "kill", message(TASK, {}, job_id)) == -signal.SIGKILL
    repeated = run(large, job_id)
    large.deliver_all()

    assert right(large) == MANY - 120 + repeated["repaired"]
    assert len(next_jobs(large)) == 1
    assert go_on(large)[-1]["repaired"] == 120
    assert right(large) == MANY


def test_pages_of_rows_are_bounded_by_bytes_and_leave_none_out(large: Bank) -> None:
    small = FILL.replace("'notes/'", "'notes/s'")
    large.rows(f"{small} RETURNING id", size=1, many=1_200)

    with Session(large.run.given.engine) as session:
        pages = list(notes().pages(session))

    keys = [one for page in pages for one in page.contents]
    assert keys == sorted(keys)
    assert len(keys) == len(set(keys)) == MANY + 1_200
    sizes = [sum(len(str(content)) for content in page.contents.values()) for page in pages]
    assert max(sizes) < PAGE_BYTES + 2 * LARGE
    assert max(len(page.contents) for page in pages) == 500


def test_a_listing_of_keys_that_fill_more_than_one_answer_leaves_none_out(bank: Bank) -> None:
    given = bank.run.given
    keys = [f"{number:04}{'k' * 2**20}" for number in range(40)]
    given.documents[NOTES].insert_many([{"_id": one, "version": 1, "deleted": False} for one in keys])

    with given.engine.begin() as connection:
        pages = list(Copies(connection, given.documents, 5).listed(NOTES))

    assert [listed.key for page in pages for listed in page] == keys
    assert max(len(page) for page in pages) < 17


def planted(*values: bytes, kind: int = 2) -> list[RawBSONDocument]:
    """Documents whose ids are of these bytes, as a text (2) or an object (3) of BSON."""
    elements = [bytes([kind]) + b"_id\0" + value + b"\0" for value in values]
    return [RawBSONDocument((4 + len(each)).to_bytes(4, "little") + each) for each in elements]


def text(raw: bytes) -> bytes:
    return (1 + len(raw)).to_bytes(4, "little") + raw + b"\0"


def twice_a(number: int) -> bytes:
    """An object with the field `a` twice."""
    fields = b"".join(b"\x10a\0" + value.to_bytes(4, "little") for value in (9, number)) + b"\0"
    return (4 + len(fields)).to_bytes(4, "little") + fields


ODD: dict[str, list[Any]] = {
    "no UTF-8": planted(text(b"\xfe"), text(b"\xff1"), text(b"\xff2")),
    "alike for Python": planted(text(b"\xfd"), text(b"\xfe"), text(b"\xff")),
    "half a pair": planted(text(b"\xed\xa0\x80"), text(b"\xed\xa0\x81")),
    "a field twice": planted(twice_a(1), twice_a(2), twice_a(3), kind=3),
    "numbers": [{"_id": one} for one in (1, 1.5, Decimal128("2.10"), float("nan"), float("-inf"))],
    "binary": [{"_id": Binary(b"x" * 16, subtype)} for subtype in (0, 2, 3, 4, 5, 128)],
    "the last of all": [{"_id": "z"}, {"_id": MaxKey()}],
}


@pytest.mark.parametrize("what", ODD)
def test_whatever_ids_are_planted_a_pass_comes_to_its_end(bank: Bank, what: str) -> None:
    bank.run.given.documents[NOTES].insert_many(ODD[what])

    found = run(bank, uuid4())

    assert found["complete"]
    assert found["differences"] == found["stubborn"] + found["repaired"] == len(ODD[what])


@pytest.mark.parametrize("what", ["no UTF-8", "alike for Python", "half a pair", "numbers", "binary"])
def test_a_listing_goes_on_behind_any_id_and_leaves_none_out(
    bank: Bank, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bank.run.given
    monkeypatch.setattr(listing, "PAGE", 1)
    given.documents[NOTES].insert_many(ODD[what])

    with given.engine.begin() as connection:
        listed = [one for page in Copies(connection, given.documents, 5).listed(NOTES) for one in page]

    assert len({one.place for one in listed}) == len(listed) == len(ODD[what])
