"""What a free-form document may be: so small and so plain that every store takes it, and nothing fails later."""

import json
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, Field, JsonValue

from worker import Rejected

COLLECTIONS: Final = frozenset({"notes", "pages", "preferences"})
"""The collections that free-form documents may be in: `documents.<collection>` in MongoDB. Name a new one here."""

BYTES_MAX: Final = 128 * 1024
DEPTH_MAX: Final = 32
KEYS_MAX: Final = 1_000
KEY_MAX: Final = 256


class CollectionNotAllowed(Rejected):
    """There are no documents in this collection."""

    code = "collection_not_allowed"


class DocumentInvalid(Rejected):
    """The document would be too large, too deep, of too many keys, or has a key that means something else."""

    code = "document_invalid"


Object = dict[str, JsonValue]
Place = tuple[str, ...]


def allowed(collection: str) -> str:
    """The collection. Raises `CollectionNotAllowed`."""
    if collection not in COLLECTIONS:
        raise CollectionNotAllowed(f"allowed are {', '.join(sorted(COLLECTIONS))}", field="collection")
    return collection


def plain_body(body: Object) -> Object:
    """The body. Raises `DocumentInvalid`, with the place."""
    refuse_invalid(body, "body")
    return body


def plain_changes(changes: Object) -> Object:
    """The changes, which obey the rules of a body. Raises `DocumentInvalid`, with the place."""
    refuse_invalid(changes, "changes")
    return changes


# What a JSON Schema can say of the rules; depth, size and the keys further down it cannot.
_ALLOWED: Final = {"enum": sorted(COLLECTIONS)}
_KEYS: Final = {
    "maxProperties": KEYS_MAX,
    "propertyNames": {"pattern": f"^(?!\\$)(?!__proto__$)[^.\\u0000]{{1,{KEY_MAX}}}$"},
}
Collection = Annotated[str, Field(examples=["notes"], json_schema_extra=_ALLOWED), AfterValidator(allowed)]
Id = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$", examples=["groceries"])]
Body = Annotated[Object, Field(examples=[{"items": ["tea"]}], json_schema_extra=_KEYS), AfterValidator(plain_body)]
Changes = Annotated[
    Object, Field(examples=[{"items": None}], json_schema_extra=_KEYS), AfterValidator(plain_changes)
]
IfVersion = Annotated[int, Field(ge=0, le=2**53 - 1)]


def refuse_invalid(body: Object, field: str) -> None:
    """Raise `DocumentInvalid` for what cannot be a document; `field` is where it stands in the payload."""
    for count, (place, key) in enumerate(_keys(body, (field,)), 1):
        if count > KEYS_MAX:
            raise DocumentInvalid(f"a document has at most {KEYS_MAX} keys", field=field)
        if problem := _wrong_with(key):
            raise DocumentInvalid(problem, field=".".join(place))
    if len(written(body).encode("utf-8", "replace")) > BYTES_MAX:
        raise DocumentInvalid(f"a document has at most {BYTES_MAX} bytes of JSON", field=field)


def written(body: Object) -> str:
    """The body as JSON, as it is kept."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def merged(body: JsonValue, changes: JsonValue) -> JsonValue:
    """The body with these changes: null removes, an object changes within, all else replaces.

    Source: P. Hoffman and J. Snell, RFC 7396, JSON Merge Patch, 2014, section 2.
    """
    if not isinstance(changes, dict):
        return changes
    result = dict(body) if isinstance(body, dict) else {}
    for key, change in changes.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), change)
    return result


def _keys(value: JsonValue, place: Place) -> Iterator[tuple[Place, str]]:
    """Every key at any depth, with where it stands. Raises `DocumentInvalid` for what is too deep."""
    if not isinstance(value, dict | list):
        return
    if len(place) > DEPTH_MAX:
        raise DocumentInvalid(f"objects and lists may be nested {DEPTH_MAX} deep", field=place[0])
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        inner = (*place, str(key))
        if isinstance(key, str):
            yield inner, key
        yield from _keys(item, inner)


def _wrong_with(key: str) -> str | None:
    if not 0 < len(key) <= KEY_MAX:
        return f"a key has 1 to {KEY_MAX} characters"
    if key.startswith("$") or "." in key or "\0" in key or key == "__proto__":
        return "a key may not begin with $, nor contain a dot or NUL, nor be __proto__"
    return None
