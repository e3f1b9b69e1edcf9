"""A subscriber: every completion event once, from a saved position on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import count
from types import TracebackType
from typing import Final, Self, TypeVar

import structlog
from pydantic import SecretStr, ValidationError
from redis import Redis
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.backoff import backoff_s
from worker.delivery.events import Event
from worker.delivery.reading import BEGINNING, Entry, StreamReader
from worker.errors import StoreUnavailable, WrongSettings
from worker.settings import ProducerSettings
from worker.stores.redis import open_redis

WINDOW: Final = 200_000
"""Events whose ids are known, so that a repeat is dropped: more than a stream of the default length has."""

WAIT_S: Final = 1.0
"""How long one command waits for an event; after that long, `stop` is heeded."""

T = TypeVar("T")

_log = structlog.get_logger()


class Subscriber:
    """Reads the stream of events from a position, and follows it: `for event in Subscriber(url, position)`.

    `redis` is a URL or a client. `position` is that of the last event that was handled (`event.position`); `0`
    begins with the oldest event that is there, `$` with the next one. `types` is a pattern of event types, in which
    `*` and `?` stand for others. `follow=False` ends at the end of the stream.

    Each event comes once, if its consumer saves the position together with what the event made it do: a repeat is
    known by its id, among the last `window` events, which a new subscriber reads back from the stream. While Redis
    is away it waits, for `patience_s` seconds or for ever. `passed` is called with a position when all up to it has
    been handled, repeats and other types included: who takes few types should save that too, for the event that it
    had last may be trimmed away.

    Raises `Gap` when events may have been missed, and `StoreUnavailable`.
    """

    def __init__(
        self,
        redis: Redis | str,
        position: str = BEGINNING,
        *,
        types: str = "*",
        follow: bool = True,
        window: int = WINDOW,
        patience_s: float | None = None,
        passed: Callable[[str], None] | None = None,
    ) -> None:
        self._opened_here = isinstance(redis, str)
        self._redis = _open(redis) if isinstance(redis, str) else redis
        self._reader = StreamReader(self._redis, position, window)
        self._types = types
        self._follow = follow
        self._patience_s = patience_s
        self._passed = passed
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Each event, until `stop`; or, without `follow`, until the end of the stream."""
        while not self._stopped.is_set():
            page = self._patiently(self._reader.read) or []
            for entry in page:
                if event := self._wanted(entry):
                    yield event
                if self._stopped.is_set():
                    return
            if page and self._passed is not None:
                self._passed(self._reader.position)
            if not page and not self._follow:
                return
            if not page:
                self._patiently(lambda: self._reader.wait(WAIT_S))

    @property
    def position(self) -> str:
        """How far it has read."""
        return self._reader.position

    def stop(self) -> None:
        """End the iteration within a second or two; may be called from another thread, or by a signal."""
        self._stopped.set()

    def close(self) -> None:
        """Close the client, if it was opened here."""
        self.stop()
        if self._opened_here:
            self._redis.close()

    def _wanted(self, entry: Entry) -> Event | None:
        if not self._reader.take(entry):
            return None
        with suppress(ValueError, KeyError, TypeError):
            event = Event.read(entry.text, entry.position)
            return event if fnmatchcase(event.type, self._types) else None
        _log.warning("event.unreadable", position=entry.position)
        return None

    def _patiently(self, call: Callable[[], T]) -> T | None:
        """Call until Redis answers; None when it is stopped meanwhile."""
        since = time.monotonic()
        for attempt in count(1):
            try:
                return call()
            except RedisError as error:
                if not _passes(error) or self._out_of_patience(since):
                    raise StoreUnavailable(f"Redis: {error}") from error
                _log.warning("store.away", error=str(error))
            if self._stopped.wait(backoff_s(attempt, first_s=0.1, cap_s=2)):
                break
        return None

    def _out_of_patience(self, since: float) -> bool:
        return self._patience_s is not None and time.monotonic() - since >= self._patience_s


def _passes(error: RedisError) -> bool:
    """Whether it is worth waiting: Redis is away, and not of another opinion."""
    refused = isinstance(error, AuthenticationError | AuthorizationError)
    return isinstance(error, RedisConnectionError | RedisTimeoutError) and not refused


def _open(url: str) -> Redis:
    try:
        settings = ProducerSettings(_env_file=None, redis_url=SecretStr(url))
    except ValidationError:  # its text may quote the URL
        raise WrongSettings("a subscriber takes a URL that starts with redis:// or rediss://") from None
    return open_redis(settings, client_name="trivet-subscriber")
