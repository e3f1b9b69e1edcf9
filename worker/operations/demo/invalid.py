"""Payloads that must be refused: each kind spoils a good one."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

Payload = dict[str, Any]
Spoiling = Callable[[Payload, str], Payload]

TOO_LARGE: Final = 2**53


def _missing(payload: Payload, field: str) -> Payload:
    return {name: value for name, value in payload.items() if name != field}


def _unknown(payload: Payload, _field: str) -> Payload:
    return payload | {"colour": "green"}


def _set_to(value: object) -> Spoiling:
    return lambda payload, field: payload | {field: value}


TEXT: Final = (_missing, _unknown, _set_to("Bobby\0Tables"), _set_to(7), _set_to(None), _set_to(""))
ID: Final = (_missing, _unknown, _set_to("not-a-uuid"), _set_to("nul\0"), _set_to(None))
MONEY: Final = (_set_to(0.5), _set_to(-1), _set_to(TOO_LARGE), _set_to("12"), _set_to(2**70))
AMOUNT: Final = (*MONEY, _missing, _set_to(0))

TOKEN: Final = (_missing, _unknown, _set_to("secret"), _set_to("A" * 64), _set_to(None), _set_to({"$ne": ""}))

SPOILS: Final[dict[str, Sequence[tuple[str, Sequence[Spoiling]]]]] = {
    "users.create": [("name", TEXT), ("email", TEXT), ("email", [_set_to("no at sign")])],
    "accounts.open": [("owner_id", ID), ("currency", [_set_to("XXX"), _set_to("eur")]), ("opening_balance", MONEY)],
    "accounts.deposit": [("account", ID), ("amount", AMOUNT)],
    "accounts.transfer": [("source", ID), ("target", ID), ("amount", AMOUNT)],
    "posts.create": [("author_id", ID), ("title", TEXT)],
    "sessions.open": [("user_id", ID), ("token_hash", TOKEN), ("ttl_s", (_set_to(0), _set_to(0.5), _missing))],
    "notifications.send": [("user_id", ID), ("body", TEXT)],
}
"""For each task, the fields and the ways to spoil them."""


def invalid_payload(random: Random, task: str, good: Payload) -> Payload:
    """A payload that `task` must reject with `invalid_payload`, made from one that it would take."""
    field, spoilings = random.choice(SPOILS[task])
    return random.choice(spoilings)(good, field)
