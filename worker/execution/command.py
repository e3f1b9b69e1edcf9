"""What a job takes and what it answers: the base classes of payloads and results."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

MinorUnits = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1, examples=[1500])]
"""An amount of money as a count of the currency's minor unit (cents): a positive whole number."""


class Command(BaseModel):
    """What a job is asked to do: unknown fields and wrong types are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    task: ClassVar[str]
    """The task that takes it; set when its job is declared."""
    payload_version: ClassVar[int] = 1
    """The version of the payloads that it reads; set when its job is declared."""


class Result(BaseModel):
    """What a job answers: the `data` of its outcome, at most 64 KiB of JSON."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
