"""A turn of delivery: the steps, in order."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import Connection

from worker.backoff import backoff_s
from worker.crash_points import crash_point
from worker.delivery import documents, redis_lane, stream
from worker.delivery.due import TURN_BYTES, TURN_ROWS, Due, Found, begin_turn, park, postpone, strike_off
from worker.delivery.effects import DocumentChange
from worker.delivery.node import Node
from worker.delivery.outbox import Lane
from worker.delivery.shards import patience_s
from worker.errors import StoreUnavailable
from worker.stores.resources import Resources
from worker.stores.round_trips import committing

EFFECT_ATTEMPTS: Final = 10
"""How often one effect may fail by itself before it is parked; a store that is away counts none."""

DELIVER_S: Final = 2.0
"""How long a process goes on from turn to turn before it reports back."""

REST_S: Final = 1.0
"""How long a node leaves a lane alone after its store did not answer."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Turn:
    """What a turn found: shards to look at again at once, stores that were away.

    `taken` is false when another process of the node had the turn, or nothing was marked. `unfinished`: something
    is marked still, though this process had the turn: whoever comes next goes on. `lost`: Redis lost events, and
    gets no others before those have been appended again. `done` are the rows that it has delivered;
    a turn that published is counted under the shard `counted_under`.
    """

    taken: bool = False
    unfinished: bool = False
    lost: bool = False
    busy: set[int] = field(default_factory=set)
    away: list[str] = field(default_factory=list)
    done: list[Due] = field(default_factory=list)
    counted_under: int | None = None


def deliver(given: Resources, node: Node) -> Turn:
    """Take this node's turn until nothing is marked, unless another process of the node has it.

    The one who has it looks again after giving it back, so a mark set meanwhile is never left behind. Shards
    that another node holds stay marked; the caller comes back for them.
    """
    total = Turn()
    limit = time.monotonic() + DELIVER_S
    while node.marked() and not (total.busy or total.lost) and time.monotonic() < limit:
        with node.turn() as mine:
            if not mine:
                break
            node.beat()
            turn = take_turn(given, node, node.take_marked())
        total.taken = True
        total.away += turn.away
        total.busy |= turn.busy
        total.lost |= turn.lost
    node.mark(total.busy)
    total.unfinished = total.taken and node.marked()  # else it is seen to by whoever has the turn
    return total


def take_turn(given: Resources, node: Node, shards: Collection[int]) -> Turn:
    """Deliver what these shards owe, in id order, as far as nobody else is doing it."""
    turn = Turn()
    lanes = [lane for lane in Lane if not node.resting(lane)]
    with begin_turn(given.engine, lanes, shards, patience_s(given.settings)) as (connection, found):
        turn.busy = set(shards) - set(found.held)
        crash_point("after_taking_shards")
        with _lane(Lane.REDIS, node, turn):
            _redis_lane(given, connection, found, turn)
        crash_point("after_redis_lane")
        with _lane(Lane.DOCUMENTS, node, turn):
            _document_lane(given, connection, found, turn)
        if turn.lost or any(map(_is_full, found.rows.values())):
            node.mark(found.held)  # any of them may owe more
        if turn.done:
            with committing(connection) as driver:
                driver.execute(*strike_off(turn.done, turn.counted_under))
                crash_point("after_strike_off")
    crash_point("after_turn")
    return turn


def _redis_lane(given: Resources, connection: Connection, found: Found, turn: Turn) -> None:
    due = found.rows[Lane.REDIS]
    if not due:
        return
    wrong = redis_lane.deliver(given.redis, due, given.settings.queue_prefix)
    turn.done += [row for row in due if row.id not in wrong]
    _put_failures_aside(connection, due, {row_id: documents.Failure(error) for row_id, error in wrong.items()})


def _document_lane(given: Resources, connection: Connection, found: Found, turn: Turn) -> None:
    due = found.rows[Lane.DOCUMENTS]
    if not due:
        return
    wrong = documents.write(given.documents, _changes(due))
    crash_point("after_documents")
    done = list(_in_order(due, wrong))
    # Only now: a listener can read the documents.
    events = [(row.id, row.event) for row in done if row.event is not None]
    counted_under = due[0].shard if events else None
    if counted_under is not None and not _publish(given, events, found.committed, counted_under):
        turn.lost = True
        return
    turn.done += done
    turn.counted_under = counted_under
    _put_failures_aside(connection, due, wrong)


def _publish(given: Resources, events: Sequence[stream.Numbered], committed: Sequence[int], shard: int) -> bool:
    """Publish these events; false, and nothing published, when Redis has lost earlier ones."""
    maxlen = given.settings.events_maxlen
    published = stream.publish(given.redis, events, maxlen=maxlen, committed=committed, shard=shard)
    if published:
        crash_point("after_publish")
    return published


def _changes(due: Sequence[Due]) -> Iterator[tuple[int, DocumentChange]]:
    return ((row.id, DocumentChange.from_bson(raw)) for row in due for raw in row.documents or ())


def _in_order(due: Sequence[Due], wrong: Mapping[int, documents.Failure]) -> Iterator[Due]:
    """Yield the rows that may be published: not those that failed, nor later ones of a subject that must wait."""
    waiting = set()
    for row in due:
        failure = wrong.get(row.id)
        if failure is None and row.subject not in waiting:
            yield row
        elif failure is not None and not failure.final:
            waiting.add(row.subject)


def _is_full(due: Sequence[Due]) -> bool:
    return len(due) == TURN_ROWS or sum(row.size for row in due) >= TURN_BYTES


def _put_failures_aside(connection: Connection, due: Sequence[Due], wrong: Mapping[int, documents.Failure]) -> None:
    for row in due:
        if row.id in wrong:
            _put_aside(connection, row, wrong[row.id])


def _put_aside(connection: Connection, row: Due, failure: documents.Failure) -> None:
    log = _log.bind(outbox_id=row.id, job_id=str(row.job_id), error=failure.error)
    if failure.final or row.attempts + 1 >= EFFECT_ATTEMPTS:
        park(connection, row, failure.error)
        log.error("effect.parked")
    else:
        postpone(connection, row, failure.error, backoff_s(row.attempts + 1, first_s=1, cap_s=60))
        log.warning("effect.postponed", attempts=row.attempts + 1)


@contextmanager
def _lane(lane: Lane, node: Node, turn: Turn) -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        node.rest(lane, REST_S)
        turn.away.append(str(error))
        _log.warning("store.away", lane=lane.name.lower(), error=str(error))
