"""What arrives: a message as the broker gave it, its job id, its canonical payload and its digest.

Canonical JSON here: keys sorted by code point, no spaces, UTF-8, numbers as Python reads them. Two payloads
with the same canonical JSON are the same payload.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from os import urandom
from typing import Any, Final, NoReturn
from uuid import UUID

import orjson

from worker.errors import InvalidPayload, PayloadTooLarge, Rejected, Unreadable

PAYLOAD_MAX: Final = 256 * 1024
"""Bytes of canonical JSON that a payload may have."""

BODY_MAX: Final = 8 * PAYLOAD_MAX
"""Bytes of raw body above which a message is not decoded: an escape makes six bytes of one, spaces are few."""

DEPTH_MAX: Final = 100
"""How deep objects and lists of a payload may be nested."""

KEY_MAX: Final = 512
"""Characters of an idempotency key or a task id."""

HEADER_DEPTH_MAX: Final = 32
"""How deep objects and lists in a header may be nested: nothing that a producer has a use for comes near."""

HEADERS: Final = (
    *("idempotency_key", "want_result", "deadline", "payload_version", "traceparent"),
    *("expires", "group", "group_index"),
)
"""The headers that a job keeps through all its tries: those that a producer may set, and some of Celery's."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LARGE = re.compile(rb"\d{19}")
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?", re.IGNORECASE | re.ASCII)
_RFC_3339 = re.compile(_NAIVE.pattern + r"(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII)
_VERSION = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Message:
    """One message, undecoded: what a main process hands to its pool.

    `revoked`: an operator took it back before it started, and its job is to be rejected.
    """

    task: str
    task_id: str
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, Any] = field(default_factory=dict)
    revoked: bool = False

    def __reduce__(self) -> tuple[type["Message"], tuple[Any, ...]]:
        """For pickle: a pool is handed hundreds at once, and a frozen class with slots is slow by itself."""
        return Message, (self.task, self.task_id, self.body, self.content_type, self.headers, self.revoked)

    @property
    def wants_result(self) -> bool:
        """Whether the producer asked for the result to be stored."""
        return self.headers.get("want_result") is True


@dataclass(frozen=True, slots=True)
class Payload:
    """A decoded payload: its canonical JSON, and the SHA-256 of that."""

    canonical: bytes
    digest: bytes


def text_of(id_: UUID) -> str:
    """The UUID as text, as `str` writes it, which takes three times as long; a job needs half a dozen."""
    return orjson.dumps(id_)[1:-1].decode() if type(id_) is UUID else str(id_)


def random_id() -> str:
    """A random UUID, version 4 of RFC 9562, as text: a fifth of what `uuid4` and `str` take together."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def derive_id(task: str, key: str) -> UUID:
    """Make the job id of a task and an idempotency key (or of a task id that is no UUID).

    UUIDv8 (RFC 9562) of the first 16 bytes of SHA-256 over `trivet`, NUL, task, NUL, key, all UTF-8.
    """
    text = f"trivet\0{task}\0{key}"
    first = bytearray(sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])
    first[6] = first[6] & 0x0F | 0x80
    first[8] = first[8] & 0x3F | 0x80
    return UUID(bytes=bytes(first))


def job_id(message: Message) -> UUID:
    """The id under which this message takes effect once; it never fails, whatever the headers hold."""
    key = message.headers.get("idempotency_key")
    if isinstance(key, str) and key:
        return derive_id(message.task, key)
    return UUID(message.task_id) if _UUID.fullmatch(message.task_id) else derive_id(message.task, message.task_id)


def exact_task_id(headers: Mapping[str, Any], printed: str) -> str:
    """The task id of a message that the ledger keeps: from its headers, where it could not be kept as a text."""
    try:
        exact = json.loads(headers["task_id"])
    except (KeyError, TypeError, ValueError):
        return printed
    return exact if isinstance(exact, str) else printed


def read_payload(message: Message) -> Payload:
    """Decode a message of Celery's protocol 2 and make its payload canonical.

    Raises `Unreadable` when it is no such message, `PayloadTooLarge` or `InvalidPayload` when its payload
    breaks a rule that holds for every task.
    """
    if len(message.body) > BODY_MAX:
        raise PayloadTooLarge(f"the message has {len(message.body)} bytes; a payload may have {PAYLOAD_MAX}")
    args, kwargs = _decode(message)
    if args:
        raise InvalidPayload("pass every field by name: positional arguments are not taken", field="args")
    payload = canonical(kwargs)
    if len(payload) > PAYLOAD_MAX:
        raise PayloadTooLarge(f"the payload has {len(payload)} bytes of JSON; it may have {PAYLOAD_MAX}")
    return Payload(payload, sha256(payload).digest())


def digest_of(message: Message) -> bytes:
    """The digest that stands for the message in the ledger, whatever is wrong with its payload."""
    try:
        return read_payload(message).digest
    except (Rejected, Unreadable):
        return raw_digest(message)


def raw_digest(message: Message) -> bytes:
    """The digest of a message whose payload has no canonical form."""
    return sha256(message.body).digest()


def canonical(payload: Mapping[str, Any]) -> bytes:
    """The canonical JSON of a payload.

    Raises `InvalidPayload`, with the field, for NUL, a lone surrogate, a number that is not finite or an
    integer beyond 64 bits.
    """
    try:
        text = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        _refuse_hostile(payload)
        raise InvalidPayload(str(error)) from error
    if _may_be_hostile(text) or _may_be_deep(text):
        _refuse_hostile(payload)
    return text


def _may_be_hostile(text: bytes) -> bool:
    # orjson writes a number that is not finite as null, NUL as an escape, and takes integers up to 2**64.
    return b"null" in text or rb"\u0000" in text or _LARGE.search(text) is not None


def _may_be_deep(text: bytes) -> bool:
    return text.count(b"[") + text.count(b"{") > DEPTH_MAX


def deadline(headers: Mapping[str, Any]) -> datetime | None:
    """The moment after which a job is not worth starting, if its producer gave one: `deadline` or `expires`.

    Raises `InvalidPayload` when it is no RFC 3339 time with a zone; `expires` without one is in UTC.
    """
    if not headers:
        return None
    given = [_moment_of(headers, name) for name in ("deadline", "expires") if name in headers]
    return min((moment for moment in given if moment is not None), default=None)


def _moment_of(headers: Mapping[str, Any], name: str) -> datetime | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        # Celery sends `expires` as it was given, and takes one without a zone for UTC.
        return _moment(f"{given}Z" if name == "expires" and _NAIVE.fullmatch(given) else given)
    except (TypeError, ValueError):
        wanted = "must be an RFC 3339 time with a zone: 2030-01-31T12:00:00Z"
        raise InvalidPayload(wanted, field=name) from None


def _moment(text: str) -> datetime:
    if not _RFC_3339.fullmatch(text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text.upper())
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within a day of the calendar's ends
        end = datetime.max if moment.year > 1 else datetime.min  # noqa: DTZ901 - the zone follows
        return end.replace(tzinfo=UTC)


def traceparent(headers: Mapping[str, Any]) -> str | None:
    """The W3C trace context of the producer, if it is well formed."""
    given = headers.get("traceparent")
    return given if isinstance(given, str) and _TRACEPARENT.fullmatch(given) else None


def payload_version(headers: Mapping[str, Any]) -> int:
    """The version of the payload: 1, unless its producer says another. Raises `Unreadable` for what is none."""
    if "payload_version" not in headers:
        return 1
    given = headers["payload_version"]
    if isinstance(given, bool) or not _VERSION.fullmatch(str(given)):
        raise Unreadable(f"payload_version {given!r} is no version: a whole number from 1 on")
    return int(given)


def version_header(version: int) -> dict[str, int]:
    """The header that says of which version a payload is; the first one goes without."""
    return {} if version == 1 else {"payload_version": version}


def printable(text: str) -> str:
    """The text as PostgreSQL can keep it: without NUL and lone surrogates."""
    return encodable(text.replace("\0", "\N{SYMBOL FOR NULL}"))


def encodable(text: str) -> str:
    """The text as UTF-8 can carry it: without lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def check_headers(headers: Mapping[str, Any]) -> None:
    """Raise `InvalidPayload` for a header of ours that is malformed."""
    if not headers:
        return
    deadline(headers)
    key = headers.get("idempotency_key")
    if key is not None and not _is_key(key):
        raise InvalidPayload(f"must be text of 1 to {KEY_MAX} characters without NUL", field="idempotency_key")


def is_deeper(value: Any, than: int) -> bool:
    """Whether decoded JSON has objects and lists nested deeper; it may be nested as deep as it likes."""
    level = [value]
    for _ in range(than):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _within(outer)]
    return any(isinstance(inner, dict | list) for inner in level)


def _within(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _is_key(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= KEY_MAX and printable(key) == key


def _not_finite(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


_strict = json.JSONDecoder(parse_float=_finite, parse_constant=_not_finite)


def _decode(message: Message) -> tuple[Any, dict[str, Any]]:
    if message.content_type != "application/json":
        raise Unreadable(f"content type {message.content_type}: only application/json is read")
    try:
        args, kwargs, _embed = _loads(message.body.decode())
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"the body is not Celery's [args, kwargs, embed] in JSON: {error}") from error
    if not isinstance(kwargs, dict):
        raise Unreadable(f"the body's kwargs are not an object but {type(kwargs).__name__}")
    return args, kwargs


def _loads(text: str) -> Any:
    try:
        return _strict.decode(text)
    except ValueError:
        return json.loads(text)  # reads what is not finite, so that its field can be named


def _refuse_hostile(payload: Mapping[str, Any]) -> None:
    for place, problem in _hostile(payload, ()):
        raise InvalidPayload(problem, field=printable(".".join(place)))


def _hostile(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    match value:
        case dict() | list() if len(place) >= DEPTH_MAX:
            yield place[:1], f"objects and lists may be nested {DEPTH_MAX} deep"
        case str() if printable(value) != value:
            yield place, "text with NUL or a lone surrogate is not taken"
        case float() if not math.isfinite(value):
            yield place, "a number must be finite"
        case int() if not -(2**63) <= value < 2**63:
            yield place, "an integer must fit into 64 bits"
        case dict():
            for key, item in value.items():
                yield from _hostile(key, (*place, key))
                yield from _hostile(item, (*place, key))
        case list():
            for index, item in enumerate(value):
                yield from _hostile(item, (*place, str(index)))
