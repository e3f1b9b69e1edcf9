"""The way of this process into the queues: a client of Redis, opened when the first job is sent.

It lies below `worker.execution`, because a job enqueues itself (`transfer.enqueue(…)`) and imports only go down.
So it knows nothing of jobs: it takes messages that `worker.execution.enqueueing` has composed and checked.
Its client is the only one that nobody passes in: a service that calls a job composes nothing when it starts, and
needs no setting but those of Redis.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from worker.envelopes import envelope, queue_of
from worker.errors import TrivetError
from worker.messages import Message
from worker.settings import ProducerSettings, read_kind
from worker.stores.redis import open_redis

CHUNK: Final = 500
"""Messages that go out in one step: a script holds up everybody else."""

CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of messages after which a step ends."""

_PUSH: Final = """
    local depth = redis.call('LLEN', KEYS[1])
    if depth + ARGV[2] > tonumber(ARGV[1]) then return {0, depth} end
    local time = redis.call('TIME')
    redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
    return {1, time[1] * 1000 + math.floor(time[2] / 1000)}
"""
"""Takes the queue, its limit, how many are to come in all, and the messages of this step."""


@dataclass(frozen=True)
class Outgoing:
    """A message on its way to its queue; with `eta`, it is not to start before."""

    message: Message
    eta: datetime | None = None


class NotEnqueued(TrivetError):
    """Jobs were not sent, or it is not known whether they were: `sent`, `uncertain`, `unsent`, in their order.

    To send the last two again is safe: each keeps its id, and takes effect once.
    """

    def __init__(self, problem: str, given: Sequence[Any], sent: int, uncertain: int = 0) -> None:
        self.sent, rest = given[:sent], given[sent:]
        self.uncertain, self.unsent = rest[:uncertain], rest[uncertain:]
        counts = f"{sent} sent, {len(self.uncertain)} uncertain, {len(self.unsent)} not sent"
        super().__init__(f"{problem} ({counts}; to send again is safe)")


class QueueFull(NotEnqueued):
    """The queue holds as many messages as `TRIVET_QUEUE_MAX` allows: send again when workers have caught up."""


class Producer:
    """Sends messages to their queues, and refuses to overfill these; `current` is that of the process."""

    def __init__(self, settings: ProducerSettings) -> None:
        self.redis = open_redis(settings, client_name="trivet-producer")
        self._queue_max = settings.queue_max
        self._queue_prefix = settings.queue_prefix
        self._push = self.redis.register_script(_PUSH)

    def send(self, outgoing: Sequence[Outgoing]) -> int:
        """Send messages of one task, in order; returns when the first went, in milliseconds on Redis' clock.

        They go in steps of up to 500, each of them all or none. Raises `QueueFull`, before anything is sent
        unless others fill the queue meanwhile, and `NotEnqueued` when Redis is away or refuses.
        """
        began_ms = sent = 0
        for elements in _steps(outgoing):
            at_ms = self._step(outgoing, sent, elements)
            began_ms = began_ms or at_ms
            sent += len(elements)
        return began_ms

    def close(self) -> None:
        """Close the client."""
        self.redis.close()

    def _step(self, outgoing: Sequence[Outgoing], sent: int, elements: Sequence[bytes]) -> int:
        queue, at_risk = queue_of(outgoing[0].message.task), 0
        try:
            self._reach()
            at_risk = len(elements)
            pushed, said = self._push(
                [self._queue_prefix + queue], [self._queue_max, len(outgoing) - sent, *elements]
            )
        except RedisError as error:
            uncertain = 0 if isinstance(error, ResponseError) else at_risk  # no answer: it may have been done
            raise NotEnqueued(f"Redis: {error}", outgoing, sent, uncertain) from error
        if not pushed:
            limit = f"TRIVET_QUEUE_MAX allows {self._queue_max}"
            raise QueueFull(f"the queue {queue} is full: {said} messages wait, {limit}", outgoing, sent)
        return int(said)

    def _reach(self) -> None:
        # What fails while it connects has sent nothing for certain. The next command gets the same connection.
        pool = self.redis.connection_pool
        pool.release(pool.get_connection())


@cache
def current() -> Producer:
    """The producer of this process, opened with the settings in the environment. Raises `WrongSettings`."""
    return Producer(read_kind(ProducerSettings))


os.register_at_fork(after_in_child=current.cache_clear)


def close() -> None:
    """Close this process's client, if it has one; the next job that is sent opens another."""
    if current.cache_info().currsize:
        current().close()
        current.cache_clear()


def _steps(outgoing: Sequence[Outgoing]) -> Iterator[list[bytes]]:
    step: list[bytes] = []
    size = 0
    for one in outgoing:
        step.append(envelope(one.message, one.eta))
        size += len(step[-1])
        if len(step) == CHUNK or size >= CHUNK_BYTES:
            yield step
            step, size = [], 0
    if step:
        yield step
