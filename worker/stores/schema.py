"""The PostgreSQL schema `trivet`, in which the runtime keeps its own tables."""

from typing import Final

from sqlalchemy import MetaData

SCHEMA: Final = "trivet"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "%(table_name)s_%(column_0_name)s_idx",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "pk": "%(table_name)s_pkey",
    },
)
