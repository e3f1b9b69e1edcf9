"""A node's own connection to Redis: its commands, and the wake-ups that Redis pushes down it.

The connection has client-side tracking switched on: once a script has looked at a queue, Redis pushes an
invalidation as soon as anybody else changes that queue, and the socket becomes readable. A client from the pool
would not do: the pool takes a connection on which a push is waiting for a broken one, and replaces it.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.errors import WrongSettings

OLDEST: Final = (6, 2)

SILENT_AGAIN_S: Final = 0.5
"""How long a Redis that did not answer is left alone: whoever waits for it can do nothing else."""


class Line:
    """One connection, made like those of `client` (RESP3), that reconnects with the next command.

    `session` counts its connections. `woken` says that there may be something to take: a watched key was changed
    by somebody else, or the connection is new and nothing is watched yet.
    """

    def __init__(self, client: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        # redis-py leaves its connections untyped.
        self._connection = cast("Any", client.connection_pool.make_connection())
        # A PING in front of a command is not needed: a lease is renewed more often than that.
        self._connection.health_check_interval = 0
        self._clock = clock
        self._watched: frozenset[bytes] = frozenset()
        self.session = 0
        self._connected_at = 0.0
        self._silent_until = 0.0
        self.woken = False

    def call(self, *command: str | bytes | int) -> Any:
        """Send one command and return its answer, as bytes; errors are redis-py's.

        After an error of the connection the command may or may not have been carried out.
        """
        self.connect()
        try:
            self._connection.send_command(*command)
            answer = self._connection.read_response()
        except ResponseError as error:
            if "READONLY" in str(error) or isinstance(error, ReadOnlyError):
                self.close()  # it became a replica: whoever is the master now is found by a new connection
            raise
        except BaseException as error:
            self._give_up(error)  # an answer that nobody read would be taken for that of the next command
            raise
        # A push that came in the same packet is read already: the socket would never tell of it.
        with contextlib.suppress(RedisError):
            self._read_pushes()
        return answer

    def connect(self) -> None:
        """Connect if there is no connection, and Redis has not just been silent.

        Raises `WrongSettings` when this Redis is too old.
        """
        if self._connection.is_connected:
            return
        if self._clock() < self._silent_until:
            raise RedisConnectionError("it was silent a moment ago, and is left alone")
        try:
            self._shake_hands()
            self._track()
        except BaseException as error:
            self._give_up(error)
            raise
        self.session += 1
        self._connected_at = self._clock()
        self.woken = True

    def close(self) -> None:
        """Close the connection; the next command makes another."""
        self._connection.disconnect()

    def _give_up(self, error: BaseException) -> None:
        if isinstance(error, RedisTimeoutError):
            self._silent_until = self._clock() + SILENT_AGAIN_S
        self.close()

    @property
    def age_s(self) -> float:
        """For how long the present connection has been there."""
        return self._clock() - self._connected_at

    def fileno(self) -> int | None:
        """The socket, for an event loop's reader; another one after each reconnect (see `session`)."""
        if not self._connection.is_connected:
            return None
        descriptor: int = self._connection._sock.fileno()  # noqa: SLF001 - redis-py offers no other way
        return descriptor

    def watch(self, keys: Iterable[str]) -> None:
        """Name the keys whose change wakes; the next command that reads them makes Redis watch them."""
        self._watched = frozenset(key.encode() for key in keys)
        self.woken = False

    def read_pushes(self) -> bool:
        """Read what Redis pushed, without waiting; returns `woken`, and sets it to false."""
        self._read_pushes()
        woken, self.woken = self.woken, False
        return woken

    def _read_pushes(self) -> None:
        try:
            while self._connection.is_connected and self._connection.can_read(0):
                self._connection.read_response(push_request=True, timeout=0, disconnect_on_error=False)
        except RedisTimeoutError:  # the rest of a push is still on its way
            return
        except RedisError:
            self.close()
            raise

    def _track(self) -> None:
        parser = self._connection._parser  # noqa: SLF001 - as redis-py's own cache does it
        parser.set_invalidation_push_handler(self._invalidated)
        # NOLOOP: what this node takes itself must not wake it.
        self._connection.send_command("CLIENT", "TRACKING", "ON", "NOLOOP")
        self._connection.read_response()

    def _invalidated(self, push: list[Any]) -> None:
        keys = push[1]  # none: everything, after FLUSHALL
        if keys is None or not self._watched.isdisjoint(keys):
            self.woken = True

    def _shake_hands(self) -> None:
        try:
            self._connection.connect()
        except ResponseError as error:
            if "HELLO" in str(error):
                require_version("5")  # or older: what has no HELLO does not tell
            raise
        require_version(self._connection.handshake_metadata[b"version"].decode())


def require_version(version: str) -> None:
    """Refuse a Redis that is too old for what the leased transport needs."""
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise WrongSettings(f"Redis {version} is too old: 6.2 or later is needed")
