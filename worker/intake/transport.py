"""The leased transport: kombu's for Redis, except that a worker node's messages are reserved under a lease.

Producers, results, remote control and events go kombu's way, unchanged. Only where there is an intake node, which
a worker sets before it connects, are jobs taken, through that node; `inspect`, Flower and producers have none.
"""

from contextlib import suppress
from socket import socketpair
from typing import Any, ClassVar, Final

from kombu.transport import redis, virtual

from worker.errors import Unreadable
from worker.execution.job import JOBS
from worker.intake.elements import Element, refuse_deep
from worker.intake.leases import Leased
from worker.intake.node import IntakeNode
from worker.intake.request import MESSAGE, REVOKED
from worker.intake.task_events import HIDDEN, NO_ARGS

RESERVING = "BRPOP"
"""kombu's name for what a channel waits for when it takes jobs; ours waits for something else under it."""

NUDGE = "nudge"
"""What makes the event loop turn once more."""

LIMIT_MAX_S: Final = 366 * 24 * 3600
"""The longest time limit that a special message may have."""


class QoS(virtual.QoS):
    """Messages that took Celery's own way are settled by the node that leases them."""

    restore_at_shutdown = False

    def can_consume(self) -> bool:
        """The node itself counts what it has in hand."""
        return self.channel.intake is not None or super().can_consume()

    def ack(self, delivery_tag: Any) -> None:
        """Settle it."""
        if isinstance(delivery_tag, int):
            self.channel.intake.specials.settle(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Put it back, or settle it."""
        if requeue and isinstance(delivery_tag, int):
            self.channel.intake.specials.give_back(delivery_tag)
            super().ack(delivery_tag)
        else:
            self.ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:  # noqa: ARG002 - kombu's signature
        """When the channel closes, the node knows best what of it Celery's pool still runs."""
        self._delivered.clear()


class Channel(redis.Channel):
    """A channel that, with an intake node, leaves the taking of jobs to it."""

    QoS = QoS  # type: ignore[assignment]  # another QoS than kombu's for Redis, on purpose

    def __init__(self, connection: Any, *args: Any, **kwargs: Any) -> None:
        # A channel that is closed has no connection any more, and may still hear of messages.
        self.intake: IntakeNode | None = connection.intake
        super().__init__(connection, *args, **kwargs)

    @property
    def takes_jobs(self) -> bool:
        """Whether this is the channel of a worker that consumes queues."""
        return self.intake is not None and bool(self.active_queues)

    def deliver(self, element: Element, leased: Leased) -> None:
        """Hand a message to Celery's own strategy, under the tag of its lease."""
        headers = element.payload["headers"]
        refuse_deep(element.payload)
        for name in (MESSAGE, REVOKED):
            headers.pop(name, None)  # ours alone: a producer's are no word of ours
        headers["ignore_result"] = True
        headers["argsrepr"], headers["kwargsrepr"] = NO_ARGS, HIDDEN  # Celery puts them into logs and events
        if element.message.task in JOBS:
            headers[MESSAGE] = element.message
            headers["expires"] = None  # the ledger judges, by PostgreSQL's clock; Celery would drop it
        headers["timelimit"] = _time_limits(headers.get("timelimit"))
        element.payload["properties"]["delivery_tag"] = leased.tag
        self.connection._deliver(element.payload, leased.queue)  # noqa: SLF001 - as kombu's channel does

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Consume a queue; a queue of jobs through the node."""
        consumed = super().basic_consume(queue, *args, **kwargs)
        self._tell_node()
        return consumed

    def _basic_cancel(self, consumer_tag: Any) -> Any:
        took_jobs = self.takes_jobs  # the channel of remote control never does
        cancelled = super()._basic_cancel(consumer_tag)
        if self.intake is not None and took_jobs and not self.active_queues:
            self.intake.stop_consuming()
        self._tell_node()
        return cancelled

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Say how many messages may be in hand."""
        super().basic_qos(prefetch_size, prefetch_count, apply_global)
        self._tell_node()

    def _tell_node(self) -> None:
        if self.takes_jobs and self.intake is not None:
            prefix = getattr(self, "global_keyprefix", "") or ""
            self.intake.consume(self.active_queues, self.qos.prefetch_count, self.deliver, prefix)


def _time_limits(given: Any) -> list[float | None]:
    """Celery's two time limits in seconds, or none. Raises `Unreadable`: others would end the pool's clock."""
    if given is None:
        return [None, None]
    if isinstance(given, list) and len(given) == 2 and all(map(_is_limit, given)):
        return given
    raise Unreadable(f"its time limits are not two numbers of seconds from 0 to {LIMIT_MAX_S}, or null")


def _is_limit(given: Any) -> bool:
    # Compared before anything is made a float: an integer may be too large for one. Nothing holds of NaN.
    return given is None or (isinstance(given, int | float) and 0 <= given <= LIMIT_MAX_S)


class Poller(redis.MultiChannelPoller):
    """The event loop's side: the node's socket stands where kombu's blocking pop would."""

    def __init__(self) -> None:
        super().__init__()
        self._line: int | None = None
        self._nudged, self._nudge = socketpair()
        self._nudged.setblocking(False)
        self._nudge.setblocking(False)

    def _register_BRPOP(self, channel: Channel) -> None:  # noqa: N802 - kombu's name
        if channel.intake is None:
            super()._register_BRPOP(channel)
            return
        if channel.intake.tick():
            # The pool sends what it was given when its own turn of this tick comes, which may just have been: then
            # the loop would wait for the next event first, up to a second. So there is one.
            with suppress(BlockingIOError):
                self._nudge.send(b".")
        self._fd_to_chan[self._nudged.fileno()] = (channel, NUDGE)
        line = channel.intake.fileno()
        if line != self._line:
            self._fd_to_chan.pop(self._line, None)
            self._line = line
        if line is not None:
            self._fd_to_chan[line] = (channel, RESERVING)

    def on_readable(self, fileno: int) -> Any:
        """Something came in on a socket."""
        channel, waits_for = self._fd_to_chan.get(fileno, (None, None))
        if waits_for == NUDGE:
            with suppress(BlockingIOError):
                self._nudged.recv(64)
            return None
        if waits_for == RESERVING and channel.intake is not None:
            channel.intake.woken()
            return None
        return super().on_readable(fileno)

    def close(self) -> None:
        """Close with the connection."""
        super().close()
        self._nudged.close()
        self._nudge.close()

    def maybe_restore_messages(self) -> None:
        """Nothing to restore here: nodes sweep, see `worker.intake.sweeping`."""

    def on_poll_init(self, poller: Any) -> None:
        """Take the loop's poller."""
        self.poller = poller


class Transport(redis.Transport):
    """`broker_transport = "worker.intake.transport:Transport"`, on an ordinary `redis://` or `rediss://` URL."""

    Channel = Channel
    intake: ClassVar[IntakeNode | None] = None  # no transport option: those are sent to whoever asks for `stats`

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()  # type: ignore[assignment]  # kombu's own Redis transport does the same
