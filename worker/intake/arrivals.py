"""Arrivals: the messages in hand that wait for the pool, by task, and the suspects, which run alone."""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.messages import Message

BATCH_BYTES: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class Arrival:
    """A message in hand, by its tag; `queue` is the one that it came by.

    `deaths` is None until it is a suspect, which runs alone; then it counts the processes that died meanwhile.
    `give_up` says why it is parked instead of run, as a code and a text.
    """

    message: Message
    tag: int
    queue: str
    deaths: int | None = None
    give_up: tuple[str, str] | None = None
    due_at: float = 0  # monotonic: of one that waits for its time
    due: Any = None  # the timer's entry for that

    @property
    def alone(self) -> bool:
        """Whether it has no neighbours in its batch."""
        return self.deaths is not None or self.give_up is not None


class Arrivals:
    """What waits for a free pool process, the oldest first, and fair over tasks."""

    def __init__(self, batch_max: int) -> None:
        self._batch_max = batch_max
        self._by_task: dict[str, deque[Arrival]] = {}
        self._alone: deque[Arrival] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._by_task.values())) + len(self._alone)

    def all(self) -> list[Arrival]:
        """Every one of them."""
        return [arrival for arrivals in self._by_task.values() for arrival in arrivals] + list(self._alone)

    def add(self, arrival: Arrival) -> None:
        """Take one in."""
        if arrival.alone:
            self._alone.append(arrival)
        else:
            self._by_task.setdefault(arrival.message.task, deque()).append(arrival)

    def put_back(self, batch: Sequence[Arrival]) -> None:
        """Take a batch in again, before all others of its task."""
        for arrival in reversed(batch):
            waiting = self._alone if arrival.alone else self._by_task.setdefault(arrival.message.task, deque())
            waiting.appendleft(arrival)

    def drop(self, tags: Collection[int]) -> None:
        """Forget those with these tags."""
        for task, waiting in list(self._by_task.items()):
            self._by_task[task] = deque(arrival for arrival in waiting if arrival.tag not in tags)
        self._by_task = {task: waiting for task, waiting in self._by_task.items() if waiting}
        self._alone = deque(arrival for arrival in self._alone if arrival.tag not in tags)

    def next_batch(self) -> list[Arrival]:
        """Take out what runs next: a suspect alone, else arrivals of one task; empty when nothing waits."""
        if self._alone:
            return [self._alone.popleft()]
        if not self._by_task:
            return []
        # Fair over tasks: the task that is served moves to the end.
        task = next(iter(self._by_task))
        waiting = self._by_task.pop(task)
        batch: list[Arrival] = []
        size = 0
        while waiting and len(batch) < self._batch_max and size < BATCH_BYTES:
            batch.append(waiting.popleft())
            size += len(batch[-1].message.body)
        if waiting:
            self._by_task[task] = waiting
        return batch
