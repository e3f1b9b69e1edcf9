"""Arrays in binary form: PostgreSQL reads from them what psycopg's own would say."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, LiteralString

import pytest
from hypothesis import given as each
from hypothesis import settings
from hypothesis import strategies as st
from psycopg import Connection

from worker.stores.arrays import NOT_PACKED, pack
from worker.stores.resources import Resources

VALUES: dict[LiteralString, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "bytea": st.binary(max_size=300),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "double precision": st.floats(allow_nan=False),
    "timestamp with time zone": st.datetimes(timezones=st.just(UTC)),
    "uuid": st.uuids(),
}


def read(connection: "Connection[Any]", kind: LiteralString, value: Any) -> Any:
    return connection.execute(f"SELECT %b::{kind}[]", (value,)).fetchone()


@pytest.mark.parametrize("kind", VALUES)
def test_postgresql_reads_the_values_that_were_packed(given: Resources, kind: LiteralString) -> None:
    with given.engine.connect() as pooled:
        connection: Any = pooled.connection.driver_connection

        @settings(max_examples=60, deadline=None, database=None)
        @each(st.lists(st.none() | VALUES[kind], max_size=40))
        def check(values: list[Any]) -> None:
            assert read(connection, kind, pack(kind, values)) == (values,)

        check()


def test_a_time_is_the_same_in_every_zone(given: Resources) -> None:
    zoned = datetime(2026, 3, 1, 12, 30, 0, 7, timezone(timedelta(hours=5, minutes=30)))
    with given.engine.connect() as pooled:
        connection: Any = pooled.connection.driver_connection

        assert read(connection, "timestamptz", pack("timestamp with time zone", [zoned])) == ([zoned],)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uuid", "no uuid"),
        ("bigint", 2**63),
        ("smallint", "7"),
        ("text", 7),
        ("double precision", "1"),
        ("bytea", 5),
        ("boolean", "f"),
        ("boolean", 2),
        ("text", "\ud800"),
        ("timestamp with time zone", datetime(2026, 1, 1)),  # noqa: DTZ001 - without a zone it is no moment
        ("interval", timedelta(1)),
    ],
)
def test_a_value_of_another_type_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(NOT_PACKED):
        pack(kind, [value])


def test_one_statement_is_prepared_whatever_is_in_its_arrays(given: Resources) -> None:
    arrays = [pack("bigint", values) for values in ([1], [2**40], [None], [], [1, None])] * 3
    with given.engine.connect() as pooled:
        connection: Any = pooled.connection.driver_connection
        for array in arrays:
            read(connection, "bigint", array)
        prepared = connection.execute(
            "SELECT parameter_types::text FROM pg_prepared_statements WHERE statement LIKE '%$1::bigint[]%'"
        ).fetchall()

    assert prepared == [("{bigint[]}",)]
