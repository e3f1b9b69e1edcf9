"""How long searches of posts take in PostgreSQL: `python -m bench.search [--posts N] [--authors N] [--rounds R]`.

Prints, for each kind of search, the median and the 95th percentile of its two statements, page and total, over one
connection as a worker has it, all kinds mixed; then their plans. Words are as frequent as in a language (Zipf).
The servers are embedded, with durable settings.
"""

import argparse
import logging
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import structlog
from sqlalchemy import Connection, text

from tasks.posts.searching import TOTAL_MAX, Search, page, planned_alone, total_of
from tests.fixtures.jobs import settings_for
from worker.operations.embedded import Options, Place, Stack
from worker.operations.migrating import migrate
from worker.stores.resources import Resources

KINDS: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "published": {"published": True},
    "drafts": {"published": False},
    "one author": {"author_name_contains": "author 0500."},
    "ten authors": {"author_name_contains": "AUTHOR 050"},
    "a hundred authors": {"author_name_contains": "or 05"},
    "every author": {"author_name_contains": "author"},
    "no author": {"author_name_contains": "nobody"},
    "a word in most": {"text": "word1"},
    "a word in many": {"text": "word40"},
    "a word in some": {"text": "word900"},
    "a word in few": {"text": "word15000"},
    "a word in none": {"text": "nowhere"},
    "two words": {"text": "word5 word40"},
    "all three": {"published": True, "author_name_contains": "author 05", "text": "word5"},
    "all three, by title": {
        "published": True,
        "author_name_contains": "author 05",
        "text": "word5",
        "order": "title",
    },
    "one author, a word": {"author_name_contains": "author 0500.", "text": "word1"},
    "one author, a rare word": {"author_name_contains": "author 0500.", "text": "word900"},
    "by title": {"order": "title"},
    "drafts by title": {"published": False, "order": "title"},
    "a hundred": {"limit": 100},
    "the last page": {"skip": TOTAL_MAX, "limit": 100},
    "the last page of a word": {"skip": TOTAL_MAX, "limit": 100, "text": "word1"},
}

FILL: Final = """
    SELECT setseed(0.5);
    INSERT INTO users (id, name, email, active, created_at, updated_at)
    SELECT gen_random_uuid(), format('Author %s.', lpad(i::text, 4, '0')), i || '@example.org', true, now(), now()
    FROM generate_series(0, :authors - 1) AS i;
    INSERT INTO posts (id, author_id, title, content, published, created_at, updated_at)
    SELECT gen_random_uuid(), everybody.ids[1 + (hashint4(i)::bigint & 2147483647) % :authors],
           'Title ' || md5(i::text), written.content, random() < 0.8, now() - i * interval '1 minute', now()
    FROM (SELECT array_agg(id) AS ids FROM users) AS everybody
    CROSS JOIN generate_series(:posts, 1, -1) AS i
    CROSS JOIN LATERAL (
        SELECT string_agg('word' || floor(power(20000, random()))::int, ' ') AS content
        FROM generate_series(1, 100 + i % 2)
    ) AS written
"""


def fill(connection: Connection, authors: int, posts: int) -> None:
    """So many authors with so many posts of a hundred words each, as autovacuum leaves them."""
    connection.exec_driver_sql("SET statement_timeout = 0")
    for statement in FILL.split(";"):
        if statement.strip():
            connection.execute(text(statement), {"authors": authors, "posts": posts})
    connection.exec_driver_sql("VACUUM (ANALYZE) posts, users")
    connection.exec_driver_sql("RESET statement_timeout")


def took_ms(connection: Connection, command: Search) -> tuple[float, float]:
    """Search as the job does: how long the page took, and the total before it."""
    alone = planned_alone(uuid4())
    started = time.perf_counter()
    total = connection.execute(total_of(command).where(alone)).scalar_one()
    counted = time.perf_counter()
    connection.execute(page(command, total).where(alone)).all()
    return (time.perf_counter() - counted) * 1_000, (counted - started) * 1_000


def measure(connection: Connection, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Page and total of each kind, in milliseconds; the kinds come in random order."""
    chance = random.Random(11)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for kind in chance.sample(list(KINDS), len(KINDS)):
            found[kind].append(took_ms(connection, Search(**KINDS[kind])))
    return found


def show(connection: Connection, found: dict[str, list[tuple[float, float]]]) -> None:
    """One line a kind."""
    print(
        f"{'search':24} {'total':>6}  {'page p50':>8} {'p95':>6}  {'total p50':>9} {'p95':>6}  {'both p95':>8}  ms"
    )
    for kind in KINDS:
        total = connection.execute(total_of(Search(**KINDS[kind]))).scalar_one()
        pages, totals = zip(*found[kind], strict=True)
        both = percentile_95([sum(pair) for pair in found[kind]])
        figures = f"{statistics.median(pages):8.1f} {percentile_95(pages):6.1f}"
        counting = f"{statistics.median(totals):9.1f} {percentile_95(totals):6.1f}"
        print(f"{kind:24} {total:6}  {figures}  {counting}  {both:8.1f}")


def percentile_95(values: Any) -> float:
    """The value that 95 of 100 do not pass."""
    found: float = statistics.quantiles(values, n=20, method="inclusive")[-1]
    return found


def explain(connection: Connection) -> None:
    """The plans, with the rows that really came."""
    for kind, asked in KINDS.items():
        command = Search(**asked)
        total = connection.execute(total_of(command)).scalar_one()
        for name, statement in (("total", total_of(command)), ("page", page(command, total))):
            print(f"\n-- {kind}: {name}")
            compiled = statement.compile(connection)
            wish = f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF, SUMMARY OFF) {compiled}"
            print("\n".join(connection.exec_driver_sql(wish, compiled.params).scalars()))


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--authors", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Place.of(Path(folder) / "servers"), Options())
        stack.start()
        try:
            with Resources.open(settings_for(stack.urls)) as given:
                migrate(given)
                with given.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    fill(connection, asked.authors, asked.posts)
                    show(connection, measure(connection, asked.rounds))
                    explain(connection)
        finally:
            stack.kill()
            stack.place.remove()


if __name__ == "__main__":
    main()
