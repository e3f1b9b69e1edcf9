"""Rows that are there only once somebody has asked for them."""

from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.dialects.postgresql import insert

from tasks.model import Base
from worker import NotFound, UnitOfWork

Row = TypeVar("Row", bound=Base)


def found_or_made(work: UnitOfWork, row: type[Row], key: UUID | str, **values: Any) -> Row:
    """The declared row, locked; where there is none, it is made with these values.

    Another job of the batch, or somebody else meanwhile, may have made it: then it is theirs, locked now.
    """
    with suppress(NotFound):
        return work.get(row, key)
    (primary,) = inspect(row).primary_key
    work.session.execute(insert(row).values({primary.name: key, **values}).on_conflict_do_nothing())
    return work.session.get_one(row, key, with_for_update={"key_share": True})
