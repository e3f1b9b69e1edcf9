"""Jobs that take too long: their neighbours go on, and code that is silent is told from a slow PostgreSQL."""

from pathlib import Path

import psycopg

from tests.fixtures.jobs import Bank, message
from worker.operations.embedded import Urls

# The lease of these tests is 6 s: silence may last 2 s, a statement 4 s, the wait for a lock 2 s.
SILENT_S = 2.6


def test_a_body_that_postgresql_hears_nothing_of_for_too_long_has_failed_and_harms_no_other(bank: Bank) -> None:
    jobs = [message("testing.think", {"seconds": SILENT_S if n == 5 else 0}) for n in range(9)]

    endings = bank.run(*jobs)

    assert [ending.outcome.value for ending in endings] == ["succeeded"] * 5 + ["retrying"] + ["succeeded"] * 3
    assert bank.rows("SELECT failures FROM trivet.jobs WHERE state = 'retrying'") == [(1,)]


def test_a_row_that_somebody_else_keeps_locked_holds_up_only_those_who_need_it(bank: Bank, servers: Urls) -> None:
    accounts = [bank.open() for _ in range(9)]
    jobs = [message("accounts.deposit", {"account": account, "amount": 1}) for account in accounts]

    with psycopg.connect(servers.postgres) as other:
        other.execute("SELECT FROM accounts WHERE id = %s FOR UPDATE", [accounts[5]])
        endings = bank.run(*jobs)

    assert [ending.outcome.value for ending in endings] == ["succeeded"] * 5 + ["retrying"] + ["succeeded"] * 3
    assert bank.rows("SELECT failures FROM trivet.jobs WHERE state = 'retrying'") == [(0,)]


def test_a_slow_statement_is_tried_again_and_is_no_failure_of_the_code(bank: Bank) -> None:
    (ending,) = bank.run(message("testing.wait", {"seconds": 5}))

    assert ending.outcome == "retrying"
    assert bank.rows("SELECT attempts, failures FROM trivet.jobs") == [(1, 0)]


def test_what_a_set_based_body_finds_unavailable_is_so_for_all_and_is_not_asked_again(
    bank: Bank, tmp_path: Path
) -> None:
    jobs = [message("testing.away_as_a_set", {"path": str(tmp_path / "asked"), "times": n}) for n in range(8)]

    endings = bank.run(*jobs)

    assert {ending.outcome.value for ending in endings} == {"retrying"}
    assert (tmp_path / "asked").read_text() == "."
    assert bank.rows("SELECT DISTINCT failures FROM trivet.jobs") == [(0,)]


def test_a_rejected_job_that_looked_at_a_column_that_was_not_loaded_leaves_it_as_it_is(bank: Bank) -> None:
    author = bank.user()
    post = message("posts.create", {"author_id": author, "title": "On engines", "published": True})
    bank.run(post)
    before = bank.rows("SELECT * FROM posts")

    endings = bank.run(*(message("testing.peek", {"post": post.task_id}) for _ in range(3)))

    assert [ending.data["code"] for ending in endings] == ["spoiled"] * 3
    assert bank.rows("SELECT * FROM posts") == before
