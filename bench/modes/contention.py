"""What a stretch of work cost the servers: deadlocks, lock waits, transactions, commands to Redis, CPU of each."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

from sqlalchemy import text

from bench.modes.processes import cpu_s
from bench.scene import Scene
from worker.operations.embedded import processes

LOOK_S: Final = 0.02

_TOTALS: Final = """
    SELECT deadlocks, xact_commit AS commits, xact_rollback AS rollbacks FROM pg_stat_database
    WHERE datname = current_database()
"""
_WAITING: Final = text("""
    SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') AS locks,
        count(*) FILTER (WHERE wait_event_type = 'LWLock') AS light_locks
    FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()
""")

_OUR_OWN: Final = {"cmdstat_xlen", "cmdstat_info", "cmdstat_xrange"}
"""Commands with which the benchmark itself looks."""


@dataclass
class Waits:
    """Seconds that sessions of PostgreSQL waited for locks, and for light ones (LWLock), all together."""

    locks_s: float = 0
    light_locks_s: float = 0
    stopped: Event = field(default_factory=Event)


@contextmanager
def counted(scene: Scene) -> Iterator[Callable[[int], dict[str, float]]]:
    """Count from here on; what it gives is called once, with the number of jobs, and returns the cost of one.

    PostgreSQL's totals are only sure when the sessions that worked have ended.
    """
    scene.bank.run.given.redis.config_resetstat()
    before, used_s, waits = _totals(scene), _cpu(scene), Waits()
    thread = Thread(target=_look, args=(scene, waits))
    thread.start()

    def cost(jobs: int) -> dict[str, float]:
        waits.stopped.set()
        thread.join()
        totals = _totals(scene)
        grown = {name: totals[name] - before[name] for name in totals}
        cpu = {f"{name}_cpu_ms": (now - used_s[name]) * 1000 / jobs for name, now in _cpu(scene).items()}
        return cpu | {
            "deadlocks": grown["deadlocks"],
            "rollbacks": grown["rollbacks"],
            "transactions_a_job": grown["commits"] / jobs,
            "redis_commands_a_job": _redis_commands(scene) / jobs,
            "lock_wait_ms": waits.locks_s * 1000 / jobs,
            "light_lock_wait_ms": waits.light_locks_s * 1000 / jobs,
        }

    try:
        yield cost
    finally:
        waits.stopped.set()
        thread.join()


def _look(scene: Scene, waits: Waits) -> None:
    """Count who waits, again and again, each for the time since the last look."""
    with scene.bank.run.given.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        last = monotonic()
        while not waits.stopped.wait(LOOK_S):
            row, now = connection.execute(_WAITING).one(), monotonic()
            waits.locks_s += row.locks * (now - last)
            waits.light_locks_s += row.light_locks * (now - last)
            last = now


def _totals(scene: Scene) -> Mapping[str, int]:
    (row,) = scene.bank.rows(_TOTALS)
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def _redis_commands(scene: Scene) -> int:
    """Commands since the count was set to zero, those in scripts among them."""
    stats: Any = scene.bank.run.given.redis.info("commandstats")
    return sum(figures["calls"] for name, figures in stats.items() if name not in _OUR_OWN)


def _cpu(scene: Scene) -> dict[str, float]:
    return {name: cpu_s(pid) for name, pid in _servers(scene).items()}


def _servers(scene: Scene) -> dict[str, int]:
    """The main process of each server."""
    given: Any = scene.bank.run.given
    session = processes.read(scene.bank.value("SELECT pg_backend_pid()"))
    assert session is not None, "PostgreSQL does not run on this machine"
    return {
        "postgres": session.parent,
        "mongo": int(given.documents.command("serverStatus")["pid"]),
        "redis": int(given.redis.info("server")["process_id"]),
    }
