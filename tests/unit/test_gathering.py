"""What the main process does with a batch that comes back from the pool without an ending."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded, WorkerLostError

from tests.fixtures.jobs import message
from worker.errors import Outcome
from worker.intake.arrivals import Arrival
from worker.intake.gathering import Gathering
from worker.intake.pool_process import Report, park_job, run_batch
from worker.messages import Message
from worker.settings import Settings

URLS = {"postgres_url": "postgresql://x", "mongo_url": "mongodb://x", "redis_url": "redis://x"}


class Running:
    """What the pool knows of what it was given, and has not answered."""

    _job = 1
    _cache: ClassVar[dict[int, object]] = {1: None}


@dataclass
class Pool:
    """Keeps what it is given, with what it is to call."""

    num_processes: int = 2
    given: list[tuple[Sequence[Any], dict[str, Any]]] = field(default_factory=list)
    parked: list[Message] = field(default_factory=list)
    pickles: bool = False
    refuses: Exception | None = None

    def apply_async(self, target: Callable[..., Report], args: Sequence[Any] = (), **options: Any) -> object:
        if self.refuses:
            raise self.refuses
        if self.pickles:
            pickle.dumps(args)
        if target is park_job:
            self.parked.append(args[0])
        else:
            assert target is run_batch
        self.given.append((args[1], options))
        return Running()

    def terminate_job(self, pid: int) -> None:
        raise AssertionError(pid)


@dataclass
class Entry:
    """What a clock is to call."""

    function: Callable[..., Any]
    args: Sequence[Any]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Timer:
    """A clock that is moved by hand."""

    due: list[Entry] = field(default_factory=list)

    def call_after(self, secs: float, fun: Callable[..., Any], args: Sequence[Any] = ()) -> Entry:
        assert secs >= 0
        entry = Entry(fun, args)
        self.due.append(entry)
        return entry

    def call_repeatedly(self, secs: float, fun: Callable[..., Any], args: Sequence[Any] = ()) -> None:
        raise AssertionError((secs, fun, args))

    def pass_by(self) -> None:
        due, self.due = self.due, []
        for entry in due:
            if not entry.cancelled:
                entry.function(*entry.args)


class Holder:
    """Has nothing against anything, unless it is away."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.away = False

    def starting(self, *_: Any) -> set[int] | None:
        return None if self.away else set()

    def done(self, tags: Any) -> None:
        self.ended += tags

    def waiting_again(self, *_: Any) -> None:
        return


class Events:
    """Nobody watches."""

    def started(self, *_: Any) -> None:
        return

    def ended(self, *_: Any) -> None:
        return


@dataclass
class Scene:
    """A gathering in a pool of two, with five arrivals of one task."""

    pool: Pool = field(default_factory=Pool)
    timer: Timer = field(default_factory=Timer)
    holder: Holder = field(default_factory=Holder)

    def __post_init__(self) -> None:
        settings = Settings(_env_file=None, batch_max=5, **URLS)  # type: ignore[arg-type]  # secrets are made of text
        events: Any = Events()
        self.gathering = Gathering(self.holder, self.pool, self.timer, settings, events)
        for tag in range(5):
            self.gathering.add(Arrival(message("testing.answer", {"length": tag}), tag, "testing"))
        self.gathering.flush()

    def answer(self, report: Report) -> None:
        self.pool.given[-1][1]["callback"](report)

    def fail(self, error: Exception) -> None:
        try:
            raise error
        except type(error):
            self.pool.given[-1][1]["error_callback"](ExceptionInfo())

    def batches(self) -> list[int]:
        return [len(messages) for messages, _ in self.pool.given]


def test_while_postgresql_is_away_a_batch_stays_in_one_piece_and_nothing_starts_before_the_pause_is_over() -> None:
    scene = Scene()

    scene.answer(Report(away=True))
    scene.gathering.add(Arrival(message("other.task", {}), 9, "other"))
    scene.gathering.flush()

    assert scene.batches() == [5]
    assert scene.gathering.in_hand == 6  # what waits leaves no room for more

    scene.timer.pass_by()

    assert sorted(scene.batches()) == [1, 5, 5]


def test_a_batch_comes_back_before_what_arrived_after_it_and_in_its_order() -> None:
    scene = Scene()
    scene.gathering.add(Arrival(message("testing.answer", {"length": 99}), 99, "testing"))

    scene.answer(Report(away=True))

    assert [arrival.tag for arrival in scene.gathering.reserved()] == [0, 1, 2, 3, 4, 99]


def test_what_ends_after_a_pause_is_acknowledged_once() -> None:
    scene = Scene()
    scene.answer(Report(away=True))
    scene.timer.pass_by()

    scene.answer(Report([Outcome.SUCCEEDED] * 5, codes=[""] * 5))

    assert sorted(scene.holder.ended) == [0, 1, 2, 3, 4]
    assert scene.gathering.in_hand == 0


def test_an_error_that_a_pool_process_raised_is_no_death_and_makes_nobody_a_suspect() -> None:
    scene = Scene()

    scene.fail(IndexError("this process could not open its clients"))
    scene.timer.pass_by()

    assert scene.batches()[0] == 5
    assert {arrival.deaths for arrival in [*scene.gathering.active(), *scene.gathering.reserved()]} == {None}


@pytest.mark.parametrize("death", [WorkerLostError("killed"), TimeLimitExceeded(1)])
def test_a_death_makes_all_that_ran_suspects_who_run_alone(death: Exception) -> None:
    scene = Scene()

    scene.fail(death)

    assert scene.batches() == [5, 1, 1]
    assert {arrival.deaths for arrival in [*scene.gathering.active(), *scene.gathering.reserved()]} == {0}


def test_what_the_pool_cannot_be_sent_is_sent_alone_and_parked_alone_while_its_neighbours_run() -> None:
    scene = Scene()
    headers = {"group": deep_lists(100_000)}
    for tag in range(20, 23):
        odd = Arrival(replace(message("other.task", {}), headers=headers if tag == 21 else {}), tag, "other")
        scene.gathering.add(odd)

    scene.pool.pickles = True
    scene.gathering.flush()
    for _ in range(3):
        scene.answer(Report([Outcome.SUCCEEDED], codes=[""]))

    assert sorted(scene.holder.ended) == [20, 21, 22]
    assert [one.task for one in scene.pool.parked] == ["other.task"]
    assert scene.pool.parked[0].headers == {}


def test_while_the_system_refuses_to_send_nothing_is_parked_and_all_is_tried_again() -> None:
    scene = Scene()
    scene.pool.refuses = OSError("no memory for a pipe")
    scene.gathering.add(Arrival(message("other.task", {}), 9, "other"))
    scene.gathering.flush()

    scene.pool.refuses = None
    scene.timer.pass_by()

    assert scene.batches() == [5, 1]
    assert scene.pool.parked == []


def deep_lists(depth: int) -> list[Any]:
    lists: list[Any] = []
    for _ in range(depth):
        lists = [lists]
    return lists


def test_what_waits_for_its_time_starts_although_a_connection_that_failed_took_its_timer_away() -> None:
    scene = Scene()
    scene.holder.away = True  # Redis is gone again just when the batch is to be marked as running
    scene.gathering.add(Arrival(message("other.task", {}), 9, "other"))
    scene.gathering.flush()
    assert [arrival.tag for arrival in scene.gathering.scheduled()] == [9]

    scene.timer.due.clear()  # as Celery does with all that was set while it tried to connect
    scene.holder.away = False
    scene.gathering.recollect()
    scene.timer.pass_by()

    assert scene.gathering.scheduled() == []
    assert scene.batches() == [5, 1]


def test_a_timer_that_is_still_there_starts_it_once() -> None:
    scene = Scene()
    scene.holder.away = True
    scene.gathering.add(Arrival(message("other.task", {}), 9, "other"))
    scene.gathering.flush()

    scene.holder.away = False
    scene.gathering.recollect()
    scene.timer.pass_by()

    assert scene.batches() == [5, 1]
