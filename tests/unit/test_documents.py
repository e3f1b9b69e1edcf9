"""What is kept of a document is what pydantic dumps of it, in the forms that BSON has."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from worker import Document
from worker.delivery.effects import content_of

ID = uuid4()
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Colour(StrEnum):
    """One value of its own kind."""

    RED = "red"


class Inner(BaseModel):
    """A document may hold others."""

    owner: UUID


class Simple(Document, collection="simple"):
    """Nothing but values."""

    owner: UUID
    name: str | None = None
    at: datetime = MOMENT

    @cached_property
    def initial(self) -> str:
        """What is computed and remembered is no field."""
        return (self.name or "")[:1]


class Nested(Document, collection="nested"):
    """Values that are more than one."""

    inner: Inner
    owners: list[UUID]
    colour: Colour = Colour.RED


class Aliased(Document, collection="aliased"):
    """Dumped under other names."""

    model_config = ConfigDict(serialize_by_alias=True)
    name: str = Field(alias="called")


class Open(Document, collection="open"):
    """Takes what it does not know."""

    model_config = ConfigDict(extra="allow")
    name: str


class Excluding(Document, collection="excluding"):
    """Leaves fields away."""

    name: str
    secret: str = Field(default="s", exclude=True)
    nothing: str | None = Field(default=None, exclude_if=lambda value: value is None)


class Serializing(Document, collection="serializing"):
    """Writes a field in its own way."""

    name: str

    @field_serializer("name")
    def shout(self, name: str) -> str:
        """In capitals."""
        return name.upper()


class Dumping(Document, collection="dumping"):
    """Dumps itself."""

    name: str

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"id": self.id, "told": self.name}


class Replacing(Document, collection="replacing"):
    """Checks that put another kind of value in place."""

    owner: Any

    @model_validator(mode="after")
    def replace(self) -> "Replacing":
        """With a model."""
        self.__dict__["owner"] = Inner(owner=ID)
        return self


def remembered() -> Simple:
    document = Simple(id=ID, owner=ID, name="Ada")
    assert document.initial == "A"
    return document


DUMPED: list[tuple[Document, dict[str, Any]]] = [
    (Simple(id=ID, owner=ID), {"owner": str(ID), "name": None, "at": MOMENT}),
    (remembered(), {"owner": str(ID), "name": "Ada", "at": MOMENT}),
    (
        Simple(id=ID, owner=ID).model_copy(update={"unknown": 1}),
        {"owner": str(ID), "name": None, "at": MOMENT},
    ),
    (
        Nested(id=ID, inner=Inner(owner=ID), owners=[ID]),
        {"inner": {"owner": str(ID)}, "owners": [str(ID)], "colour": "red"},
    ),
    (Aliased(id=ID, called="a"), {"called": "a"}),
    (Open(id=ID, name="a", more=1), {"name": "a", "more": 1}),
    (Excluding(id=ID, name="a"), {"name": "a"}),
    (Serializing(id=ID, name="a"), {"name": "A"}),
    (Dumping(id=ID, name="a"), {"told": "a"}),
    (Replacing(id=ID, owner=1), {"owner": {"owner": str(ID)}}),
]


@pytest.mark.parametrize(("document", "kept"), DUMPED, ids=lambda it: type(it).__name__)
def test_a_document_is_kept_as_it_is_dumped(document: Document, kept: dict[str, Any]) -> None:
    assert content_of(document) == kept
