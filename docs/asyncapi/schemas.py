"""JSON Schemas of the classes that jobs take, answer and publish, as components under the classes' names.

They are of draft 7, which AsyncAPI's schema objects are made of.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from docs.pages.markdown import said

Schema = dict[str, Any]
HERE: Final = "#/components/schemas/"


class _Plain(GenerateJsonSchema):
    """Without a title for each field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - as pydantic calls it
        return False


class Schemas:
    """The components, by name; a class is added with all that it is made of when it is first referred to."""

    def __init__(self, given: Mapping[str, Schema]) -> None:
        self.components: dict[str, Schema] = dict(given)
        self._classes: dict[str, type[BaseModel]] = {}

    def taken(self, model: type[BaseModel]) -> Schema:
        """A reference to the schema of what producers send: closed, as unknown fields are refused."""
        return self._add(model, "validation")

    def told(self, model: type[BaseModel]) -> Schema:
        """A reference to the schema of what we send: open, as a newer worker may say more."""
        return self._add(model, "serialization")

    def put(self, name: str, schema: Schema) -> Schema:
        """Add a component that is no class; returns the reference to it."""
        self.components[name] = schema
        return {"$ref": HERE + name}

    def resolved(self, schema: Schema) -> Schema:
        """What a reference refers to; the schema itself, if it is none."""
        return self.components[schema["$ref"].removeprefix(HERE)] if "$ref" in schema else schema

    def without(self, schema: Schema, paths: Sequence[Sequence[str]]) -> Schema:
        """A schema without these fields: inline as far as they reach, by reference beyond."""
        if not paths:
            return schema
        kept = deepcopy(self.resolved(schema))
        for name in sorted({path[0] for path in paths}):
            below = [path[1:] for path in paths if path[0] == name]
            if [] in [list(path) for path in below]:
                del kept["properties"][name]
                kept["required"] = [other for other in kept.get("required", []) if other != name]
            else:
                kept["properties"][name] = self.without(kept["properties"][name], below)
        return kept

    def _add(self, model: type[BaseModel], mode: Literal["validation", "serialization"]) -> Schema:
        whole = model.model_json_schema(mode=mode, schema_generator=_Plain, ref_template=HERE + "{model}")
        inner = whole.pop("$defs", {})
        names = {one.__name__: _named(one) for one in _parts(model)} | {"JsonValue": "JsonValue"}
        for one in _parts(model):
            schema = whole if one is model else inner[one.__name__]
            self._keep(one, _tidy(schema, names) | {"description": said(one)}, closed=mode == "validation")
        if "JsonValue" in inner:
            self.components["JsonValue"] = {"description": "Any value that JSON has."}
        return {"$ref": HERE + _named(model)}

    def _keep(self, model: type[BaseModel], schema: Schema, *, closed: bool) -> None:
        name = _named(model)
        if self._classes.setdefault(name, model) is not model:
            raise ValueError(
                f"{model.__module__} and {self._classes[name].__module__} both have {name}: rename one"
            )
        if not closed:
            schema.pop("additionalProperties", None)
        if self.components.setdefault(name, schema) != schema:
            raise ValueError(f"{name} is both taken and told: make it two classes")


def _named(model: type[BaseModel]) -> str:
    """`accounts.Transfer`: the slice, and the class."""
    _, *inner = model.__module__.split(".")
    return f"{inner[0]}.{model.__name__}"


def _parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The class, and the classes that its fields are made of, each once."""
    seen: dict[type[BaseModel], None] = {}

    def walk(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation not in seen:
                seen[annotation] = None
                for field in annotation.model_fields.values():
                    walk(field.annotation)
            return
        for argument in get_args(annotation):
            walk(argument)

    walk(model)
    return iter(seen)


def _tidy(schema: Any, names: Mapping[str, str]) -> Any:
    """With the components' names; draft 7 does not see what stands beside a reference, so it stands around it."""
    match schema:
        case {"$ref": reference, **others}:
            target = {"$ref": HERE + names[reference.removeprefix(HERE)]}
            return {"allOf": [target], **_tidy(others, names)} if others else target
        case dict():
            return {name: _tidy(value, names) for name, value in schema.items()}
        case list():
            return [_tidy(value, names) for value in schema]
        case _:
            return schema
