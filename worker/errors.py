"""Everything that can go wrong, drawn once, and the closed vocabulary of outcomes.

TrivetError
├── WrongSettings          the environment is incomplete or wrong; the process does not start
├── StoreUnavailable       a store does not answer; wait and try again
├── Rejected               the job asks for something that cannot be; no retry
│   ├── InvalidPayload     code invalid_payload, with the field
│   ├── PayloadTooLarge    code payload_too_large
│   ├── IdempotencyConflict  code idempotency_conflict
│   ├── Expired            code expired
│   ├── RateLimited        code rate_limited, with retry_after_s and remaining
│   └── NotFound           code <row>_not_found
│       (each slice adds its own beside its tasks)
├── Unavailable            something that the job needs is away; try again until the deadline
├── Gap                    a subscriber may have missed events; read the state anew
└── Unreadable             the message is no job that this version understands; park it
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID


class Outcome(StrEnum):
    """What becomes of a job: the same words in the database, on the wire and in the logs."""

    ACCEPTED = "accepted"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    PARKED = "parked"

    @property
    def ended(self) -> bool:
        """Whether this is final: no further attempt unless an operator asks for one."""
        return self in {Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.PARKED}


class TrivetError(Exception):
    """The root of all errors of this package."""


class WrongSettings(TrivetError):
    """The environment is incomplete or wrong."""


class StoreUnavailable(TrivetError):
    """A store does not answer."""


class Rejected(TrivetError):
    """The job asks for something that cannot be: nothing of it is written, and it is not tried again.

    A class or an instance sets `code`, which is public: it is in the ledger, in events and in results.
    """

    code: str

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    @property
    def data(self) -> dict[str, object]:
        """As events and the ledger carry it: `{code, message}`, and `field` where there is one."""
        place = {"field": self.field} if self.field else {}
        return {"code": self.code, "message": self.message, **place}

    @classmethod
    def told(cls, data: Mapping[str, Any]) -> "Rejected":
        """The rejection that such data tells of: of the class that has this code, where it is known here."""
        kinds = {vars(kind)["code"]: kind for kind in _below(Rejected) if "code" in vars(kind)}
        other = NotFound if str(data["code"]).endswith("_not_found") else Rejected
        kind = kinds.get(data["code"], other)
        rejection = kind.__new__(kind, data["message"])  # not its __init__, which may take what we do not know
        Rejected.__init__(rejection, data["message"], field=data.get("field"))
        vars(rejection).update(data)
        return rejection


def _below(kind: type[Rejected]) -> Iterator[type[Rejected]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


class InvalidPayload(Rejected):
    """The payload is not what the task takes; `field` says where."""

    code = "invalid_payload"


class PayloadTooLarge(Rejected):
    """The payload is larger than 256 KiB of canonical JSON."""

    code = "payload_too_large"


class IdempotencyConflict(Rejected):
    """The job id is taken by a job with another task or payload, whose own outcome stands."""

    code = "idempotency_conflict"


class Expired(Rejected):
    """The job arrived after its deadline."""

    code = "expired"


class Revoked(Rejected):
    """An operator revoked the job before it started."""

    code = "revoked"


class RateLimited(Rejected):
    """The job is over its rate limit: `retry_after_s` seconds later one more is allowed, now `remaining`."""

    code = "rate_limited"

    def __init__(self, message: str, *, remaining: int, retry_after_s: float) -> None:
        super().__init__(message)
        self.remaining = remaining
        self.retry_after_s = retry_after_s

    @property
    def data(self) -> dict[str, object]:
        """As every rejection's, with the two figures."""
        return {**super().data, "retry_after_s": self.retry_after_s, "remaining": self.remaining}


class NotFound(Rejected):
    """A row that the job names does not exist; the code is made from the row's class: `account_not_found`."""

    def __init__(self, row: type, key: UUID | str) -> None:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", row.__name__).lower()
        self.code = f"{name}_not_found"
        super().__init__(f"no {name.replace('_', ' ')} has the id {key}")


class Unavailable(TrivetError):
    """Something that the job needs is away; the job is tried again until its deadline."""


class Gap(TrivetError):
    """The stream of events no longer has the entry at `position`, so what followed it may be missing as well."""

    def __init__(self, position: str) -> None:
        self.position = position
        super().__init__(
            f"the stream of events no longer has {position}: it was trimmed away, or Redis lost it. Read the state"
            " that you need from PostgreSQL or MongoDB, and then begin at 0"
        )


class Unreadable(TrivetError):
    """The message is no job that this version understands; it is parked with its raw bytes."""
