"""Writing many rows in one statement, from one array a column: a round trip a batch, not one a row."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from worker.stores.arrays import NOT_PACKED, Packed, pack

Columns = Mapping[str, Sequence[Any]]
"""The values of each column, by its name: all of one length, row by row."""

_POSTGRESQL: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # it has no type


def insert_many(session: Session, row: type[Any], columns: Columns) -> None:
    """Insert rows of a mapped class; other columns take their defaults. The ORM hears nothing of it."""
    if any(columns.values()):
        session.connection().exec_driver_sql(_insert(_table(row), tuple(columns)), _arrays(_table(row), columns))


def update_many(session: Session, row: type[Any], columns: Columns) -> None:
    """Give rows of a mapped class new values, found by their primary key, which is among the columns.

    They must be locked before. The ORM hears nothing.
    """
    if any(columns.values()):
        session.connection().exec_driver_sql(_update(_table(row), tuple(columns)), _arrays(_table(row), columns))


@cache
def _insert(table: Table, names: Sequence[str]) -> str:
    listed = ", ".join(names)
    return f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {_rows(table, names)}"  # noqa: S608 - names of ours


@cache
def _update(table: Table, names: Sequence[str]) -> str:
    (key,) = table.primary_key.columns
    changed = ", ".join(f"{name} = new.{name}" for name in names if name != key.name)
    same = f"old.{key.name} = new.{key.name}"
    return f"UPDATE {table} AS old SET {changed} FROM {_rows(table, names)} WHERE {same}"  # noqa: S608 - names of ours


def _rows(table: Table, names: Sequence[str]) -> str:
    # %b: in binary, arrays cost a seventh of what they cost as text.
    arrays = ", ".join(f"%({name})b::{_kind(table, name)}[]" for name in names)
    return f"unnest({arrays}) AS new ({', '.join(names)})"


def _arrays(table: Table, columns: Columns) -> dict[str, list[Any] | Packed]:
    return {name: _array(_kind(table, name).lower(), list(values)) for name, values in columns.items()}


def _array(kind: str, values: list[Any]) -> list[Any] | Packed:
    try:
        return pack(kind, values)
    except NOT_PACKED:
        return values  # of a type, or in a form, that psycopg knows, or tells what is wrong with


@cache
def _kind(table: Table, name: str) -> str:
    return table.c[name].type.compile(_POSTGRESQL)


def _table(row: type[Any]) -> Table:
    table = inspect(row).local_table
    if not isinstance(table, Table):
        raise TypeError(f"{row.__name__} is not mapped to a table")
    return table
