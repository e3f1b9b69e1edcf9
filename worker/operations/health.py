"""Whether the three stores are fit to work with: looked at on demand, and before a worker starts."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from worker.errors import WrongSettings
from worker.operations.health_stores import Look, Severity, Store, Unmet, Unverified, stores
from worker.redaction import redact
from worker.settings import Settings

AWAY = "store.away"
UNSAFE = "store.unsafe"
NEXT_TRY_MAX_S = 5.0

_STORE_ERRORS = (SQLAlchemyError, PyMongoError, RedisError, OSError)
_MESSAGE_MAX = 200

_log = structlog.get_logger()


@dataclass(frozen=True)
class Finding:
    """What one look at one store has shown; `message` and `remedy` are for people."""

    store: str
    what: str
    ok: bool
    severity: Severity
    message: str
    remedy: str = ""

    @property
    def failed(self) -> bool:
        """Whether this must be put right first."""
        return not self.ok and self.severity is Severity.ERROR

    def __str__(self) -> str:
        return f"{self.store} is not {_ADJECTIVES.get(self.what, self.what)} ({self.message}); {self.remedy}"


_ADJECTIVES = {"version": "new enough"}


def check_stores(settings: Settings, scripts: Path | None = None) -> list[Finding]:
    """Ask every store everything. A store that is down is one finding, and the others are asked all the same."""
    return [finding for store in stores(settings, scripts) for finding in _examine(store)]


def refuse_unsafe(settings: Settings, pause: Callable[[float], None] = time.sleep) -> None:
    """Wait until all stores answer, for ever and with a log event each try; then insist that they are safe.

    `pause` waits for the given seconds. Raises `WrongSettings` for a store that is too old, and in production
    for one that may lose what it has confirmed; development only warns of the latter.
    """
    waiting = list(stores(settings))
    for delay_s in _delays_s():
        waiting = [store for store in waiting if not _is_settled(store, delay_s)]
        if not waiting:
            return
        pause(delay_s)


def _delays_s() -> Iterator[float]:
    delay_s = 0.25
    while True:
        yield delay_s
        delay_s = min(delay_s * 2, NEXT_TRY_MAX_S)


def _is_settled(store: Store, delay_s: float) -> bool:
    """Whether the store answers and may be used; raises `WrongSettings` when it answers and may not."""
    try:
        with store.reach() as given:
            # Not whether it is migrated: during an upgrade, old workers run on the new schema.
            findings = [_ask(store, look, given) for look in store.looks if look.what in {"version", "durable"}]
    except _STORE_ERRORS as error:
        _log.warning(AWAY, store=store.name, error=_said(error), next_try_s=delay_s, remedy=store.remedy)
        return False
    for finding in findings:
        if finding.failed:
            raise WrongSettings(str(finding))
        if not finding.ok:
            _log.warning(UNSAFE, store=store.name, what=finding.what, seen=finding.message, remedy=finding.remedy)
    return True


def _examine(store: Store) -> Iterator[Finding]:
    try:
        with store.reach() as given:
            yield Finding(store.name, "reachable", True, Severity.ERROR, "answers")
            yield from [_ask_or_tell(store, look, given) for look in store.looks]
    except _STORE_ERRORS as error:
        yield Finding(store.name, "reachable", False, Severity.ERROR, _said(error), store.remedy)


def _ask_or_tell(store: Store, look: Look, given: Any) -> Finding:
    """As `_ask`, and an error of the driver is what was found."""
    try:
        return _ask(store, look, given)
    except _STORE_ERRORS as error:
        return Finding(store.name, look.what, False, look.severity, _said(error), look.remedy)


def _ask(store: Store, look: Look, given: Any) -> Finding:
    try:
        return Finding(store.name, look.what, True, look.severity, look.ask(given))
    except Unmet as unmet:
        return Finding(store.name, look.what, False, look.severity, str(unmet), look.remedy)
    except Unverified as unverified:
        return Finding(store.name, look.what, False, Severity.WARNING, str(unverified), look.remedy)


def _said(error: BaseException) -> str:
    """The kind of the error and the first line of what the driver said."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    first, *_ = f"{error}\n".splitlines()
    first, *_ = first.split(" (configured timeouts")  # MongoDB's client adds all that it knows
    return redact(f"{type(error).__name__}: {first}")[:_MESSAGE_MAX]
