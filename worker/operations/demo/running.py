"""The demo from the first server to the last check."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from worker.operations.demo.books import Books, read_books
from worker.operations.demo.errors import DemoFailed
from worker.operations.demo.planning import plan_workload
from worker.operations.demo.sending import plain_client, send
from worker.operations.demo.showing import Show
from worker.operations.demo.stores import Stores, fresh_databases
from worker.operations.demo.summary import Summary
from worker.operations.demo.watching import Watch
from worker.operations.demo.workload import Workload
from worker.operations.embedded import Urls, running_servers
from worker.operations.logs import configure_logs
from worker.operations.programs import GRACE_S, Program, Running, trivet
from worker.secret_files import set_for_all
from worker.settings import read_settings
from worker.stores.resources import Resources

EVENTS_MAXLEN_MIN: Final = 100_000
HURRY_S: Final = 2.0


def run_demo(jobs: int, seed: int, folder: Path, show: Show) -> Summary:
    """Run a workload on the servers of this folder, in databases made for it, and check what it came to.

    Raises `DemoFailed` when there is nothing to sum up: a process died, or the worker stopped making progress.
    """
    began = time.monotonic()
    workload = plan_workload(jobs, seed)
    with ExitStack() as opened:
        with show.step("start PostgreSQL, MongoDB and Redis"):
            urls = opened.enter_context(fresh_databases(opened.enter_context(running_servers(folder))))
        with show.step("migrate a database for the demo"):
            set_for_all(_environment(urls, workload))
            _migrate()
        books = _work(workload, urls, opened, folder, show)
        with show.step("stop worker, beat and the servers"):
            opened.close()
    return Summary.of(seed, workload, books, time.monotonic() - began)


def _work(workload: Workload, urls: Urls, opened: ExitStack, folder: Path, show: Show) -> Books:
    """Let a worker do the workload, with beat beside it; returns what it left."""
    stores = opened.enter_context(Stores.open(urls))
    logs = {name: folder / f"demo-{name}.log" for name in ("worker", "beat")}
    worker, beat = (opened.enter_context(_running(name, log)) for name, log in logs.items())
    with show.bar(len(workload.jobs)) as bar:
        _send_phases(workload, urls, Watch(stores, workload, worker, logs["worker"], bar.show), bar.name)
    if (code := beat.exit_code) is not None:
        raise DemoFailed(f"beat ended by itself, with exit code {code}; see {logs['beat']}")
    for running in (worker, beat):  # they do so while the books are read
        running.ask_to_end()
    with show.step("read and check what the stores hold"):
        return read_books(stores, workload.jobs)


def _send_phases(workload: Workload, urls: Urls, watch: Watch, name: Callable[[str], None]) -> None:
    """Send phase after phase, each when the jobs of the one before have ended."""
    sent: set[UUID] = set()
    with plain_client(urls.redis) as client:
        for phase in workload.phases:
            name(phase.name)
            send(client, phase.messages, watch.glance)
            sent |= {message.job_id for message in phase.messages}
            watch.until_ended(len(sent))
        watch.until_quiet()
        name("done")


@contextmanager
def _running(name: str, log: Path) -> Iterator[Running]:
    with log.open("wb") as output:
        running = Program(name, trivet(name)).start(output)
    try:
        yield running
    except BaseException:
        running.end(HURRY_S)  # what it has in hand is of no use any more
        raise
    if not running.end():
        raise DemoFailed(f"{name} did not end within {GRACE_S:.0f} s of being told to; see {log}")


def _migrate() -> None:
    import worker.app  # noqa: F401, PLC0415 - reads the environment; imports the task modules, which declare documents
    from worker.operations.migrating import migrate  # noqa: PLC0415 - Alembic is slow to import

    settings = read_settings()
    configure_logs(settings.model_copy(update={"log_level": "warning"}), role="demo")
    given = Resources.open(settings)
    try:
        migrate(given)
    finally:
        given.close()


def _environment(urls: Urls, workload: Workload) -> dict[str, str]:
    """The settings of the demo's own processes; what else is set counts for them too."""
    # Each message may have an event, and the stream is to hold them all when they are counted.
    maxlen = max(EVENTS_MAXLEN_MIN, 2 * len(workload.messages))
    return {
        **urls.environment(),
        "TRIVET_ENV": "development",
        "TRIVET_EVENTS_MAXLEN": str(maxlen),
        "TRIVET_METRICS_PORT": "",  # a worker of the user's may have the one that is set
    }
