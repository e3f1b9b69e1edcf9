"""`tables.md`: the tables in PostgreSQL, from SQLAlchemy's metadata, and the collections in MongoDB."""

import importlib
from typing import Final

from sqlalchemy import CheckConstraint, Column, DefaultClause, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from docs.pages.markdown import code, codes, first, table
from docs.pages.tasks import declared
from tasks.documents import COLLECTIONS
from tasks.model import Base
from worker.delivery.effects import Document

HOMES: Final = (
    "worker.execution.ledger",
    "worker.execution.sends",
    "worker.execution.ticks",
    "worker.delivery.outbox",
    "worker.delivery.shards",
)
"""The modules that declare tables of the runtime."""


def page() -> str:
    """The page."""
    declared()
    business = {str(mapper.local_table): first(mapper.class_) for mapper in Base.registry.mappers}
    return "\n\n".join([
        "# Tables and collections",
        "Migrations make them; see [migrate](../how-to/migrate.md). Times are `timestamp with time zone`, in UTC.",
        "## The runtime: schema `trivet`",
        *(text for one, says in _runtime() for text in _table(one, says)),
        "## The business: schema `public`",
        *(text for one in Base.metadata.sorted_tables for text in _table(one, business[one.name])),
        "## MongoDB",
        ("Every document has an `_id` (text), a `version` (whole number) and `deleted`. A delete leaves a document "
        "with only these: a tombstone."),
        table(["collection", "fields", "indexes", "what"], [*_collections(), _free_form(), _reports()]),
    ])  # fmt: skip


def _runtime() -> list[tuple[Table, str]]:
    modules = [importlib.import_module(name) for name in HOMES]
    return [(one, first(module)) for module in modules for one in vars(module).values() if isinstance(one, Table)]


def _table(one: Table, says: str) -> list[str]:
    checks = sorted(str(rule.sqltext) for rule in one.constraints if isinstance(rule, CheckConstraint))
    indexes = [_index(index) for index in sorted(one.indexes, key=lambda index: str(index.name))]
    rules = [f"- check: {code(check)}" for check in checks] + [f"- {code(index)}" for index in indexes]
    rows = [_column(column) for column in one.columns]
    return [
        f"### {one.fullname}",
        says,
        table(["column", "type", "null", "default", "what"], rows),
        *(["\n".join(rules)] if rules else []),
    ]


def _index(index: object) -> str:
    return str(CreateIndex(index).compile(dialect=postgresql.dialect())).strip()  # type: ignore[arg-type, no-untyped-call]  # any index


def _column(column: Column[object]) -> tuple[str, ...]:
    kind = column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]  # has no types
    notes = [column.comment] if column.comment else []
    notes += ["primary key"] if column.primary_key else []
    notes += [f"refers to `{key.target_fullname}`" for key in column.foreign_keys]
    return code(column.name), kind.lower(), "yes" if column.nullable else "no", _default(column), "; ".join(notes)


def _default(column: Column[object]) -> str:
    if column.identity is not None:
        return "identity"
    if isinstance(column.server_default, DefaultClause):
        argument = column.server_default.arg
        text = argument if isinstance(argument, str) else str(argument.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # has no types
        return code(text)
    return ""


def _free_form() -> tuple[str, ...]:
    says = f"A free-form document in an allowed collection: {codes(sorted(COLLECTIONS))}."
    return code("documents.<collection>"), codes(["body", "revision"]), "–", says


def _reports() -> tuple[str, ...]:
    says = "What maintenance found on a day; the other fields are those of the task's result."
    return code("reports"), codes(["name", "day", "made_at"]), "–", says


def _collections() -> list[tuple[str, ...]]:
    kinds = [kind for kind in Document.kinds if kind.__module__.startswith("tasks.")]
    return [
        (
            code(kind.collection),
            codes(name for name in kind.model_fields if name != "id"),
            codes(kind.indexes) or "–",
            first(kind),
        )
        for kind in sorted(kinds, key=lambda kind: kind.collection)
    ]
