"""Example values, made from schemas: the same each time, and valid."""

from collections.abc import Mapping
from typing import Any

from docs.asyncapi.schemas import Schema, Schemas
from worker.messages import derive_id


class NoExample(ValueError):
    """Nothing can be made up for this field: give `Field(examples=[…])` where its type is defined."""


def sample(schema: Schema, schemas: Schemas, name: str = "") -> Any:
    """A value for this schema; `name` is the field's, from which ids and texts are made.

    Raises `NoExample` for text that must match a pattern and has no example.
    """
    schema = schemas.resolved(schema)
    for keyword in ("const", "default"):
        if schema.get(keyword) not in (None, [], "", {}):
            return schema[keyword]
    match schema:
        case {"examples": [first, *_]} | {"enum": [first, *_]}:
            return first
        case {"anyOf": [first, *_]} | {"allOf": [first, *_]}:
            return sample(first, schemas, name)
        case {"type": "object"}:
            return _object(schema, schemas)
        case {"type": "array"}:
            return [sample(schema["items"], schemas, name)]
        case _:
            return _plain(schema, name)


def _object(schema: Schema, schemas: Schemas) -> dict[str, Any]:
    fields: Mapping[str, Schema] = schema.get("properties", {})
    return {name: sample(field, schemas, name) for name, field in fields.items()}


def _plain(schema: Schema, name: str) -> Any:
    match schema:
        case {"type": "string"}:
            return _text(schema, name)
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 1)
        case {"type": "boolean"}:
            return True
        case _:
            return None


def _text(schema: Schema, name: str) -> str:
    match schema:
        case {"format": "uuid"}:
            return str(derive_id("example", name))
        case {"format": "date-time"}:
            return "2030-01-31T12:00:00Z"
        case {"format": "date"}:
            return "2030-01-31"
        case {"pattern": pattern}:
            raise NoExample(f"{name} must match {pattern}: give Field(examples=[…]) where its type is defined")
        case _:
            return name
