"""What an error of Redis means: it tells of the store, or of one command."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis.exceptions import (
    AuthorizationError,
    ExecAbortError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.errors import StoreUnavailable

_TROUBLE = (
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
    MasterDownError,
    ExecAbortError,
    AuthorizationError,
)

_TOLD_BY_CODE: Final = re.compile(
    r"^(MISCONF|NOREPLICAS)|@user_script: ?\d+: -(OOM|READONLY|MASTERDOWN|MISCONF|NOREPLICAS)"
)
"""Codes for which redis-py has no class; and Redis before 7 wraps what went wrong inside a script."""


@contextmanager
def redis_trouble() -> Iterator[None]:
    """Turn what tells of the store, and not of a command, into `StoreUnavailable`."""
    try:
        yield
    except RedisError as error:
        if is_trouble(error):
            raise StoreUnavailable(f"Redis: {error}") from error
        raise


def is_trouble(error: RedisError) -> bool:
    """Whether the error tells of the store: away, full, loading, read-only, without its replicas or disk."""
    return isinstance(error, _TROUBLE) or bool(_TOLD_BY_CODE.search(str(error)))
