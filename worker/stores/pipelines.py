"""libpq's pipeline mode, through psycopg's: several statements go out together, and end with a Sync.

https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.generators import send
from psycopg.pq import PipelineStatus
from sqlalchemy.exc import InvalidRequestError

from worker.stores.postgres import has_news

_SENT_AHEAD: Final = "sent_ahead"
"""The attribute of a connection that keeps its open pipeline, whose answers nobody has waited for yet."""


@contextmanager
def pipeline_of(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """Psycopg's pipeline, ended as we need it; the one that is open still, if there is one."""
    with _interruptions_come_out(driver), _reopen(driver) if _SENT_AHEAD in vars(driver) else _open(driver):
        yield


@contextmanager
def sending_ahead(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """A pipeline that sends what is inside, and stays open for the answers: `pipeline_of` goes on with it."""
    with _interruptions_come_out(driver), ExitStack() as unless_sent:
        pipeline = unless_sent.enter_context(_open(driver))
        yield
        driver.wait(pipeline._send_gen())  # noqa: SLF001 - made by `_send_at_once`
        pipeline._communicate_gen = _refuse_more  # noqa: SLF001
        vars(driver)[_SENT_AHEAD] = pipeline, unless_sent.pop_all()


@contextmanager
def _open(driver: "psycopg.Connection[Any]") -> Iterator[Any]:
    if driver.pgconn.pipeline_status != PipelineStatus.OFF:
        # What is inside would not be sent, and nobody would miss it.
        raise InvalidRequestError(
            "a round trip of this connection is open: they cannot be nested, nor follow the last"
        )
    if has_news(driver):
        # It raises what the server said when it ended the session: a pipeline passes over it.
        driver.execute("SELECT 1")
    with driver.pipeline() as pipeline:
        _send_at_once(pipeline)
        yield pipeline


@contextmanager
def _reopen(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    pipeline, ends = vars(driver).pop(_SENT_AHEAD)
    with ends:
        pipeline._communicate_gen = _hold_back  # noqa: SLF001
        yield


def abandon(driver: "psycopg.Connection[Any]") -> None:
    """Wait for the answers that nobody wants any more: what the transaction failed for is to be told."""
    if _SENT_AHEAD in vars(driver):
        with suppress(psycopg.Error, InvalidRequestError), pipeline_of(driver):
            pass


@contextmanager
def _interruptions_come_out(driver: "psycopg.Connection[Any]") -> Iterator[None]:
    """An interruption in a pipeline comes out as it is, and closes the connection."""
    try:
        yield
    except psycopg.OperationalError as error:
        interruption = error.__context__
        if driver.pgconn.pipeline_status == PipelineStatus.OFF or isinstance(interruption, psycopg.Error | None):
            raise
        driver.close()
        raise interruption from error


def _hold_back() -> Iterator[Any]:
    yield from ()


def _refuse_more() -> Iterator[Any]:
    yield from ()
    raise InvalidRequestError("nothing may be asked behind a last_round_trip")


def _send_at_once(pipeline: Any) -> None:
    """Let a pipeline send everything at its end, and end with a Sync: docs/decisions/0016.

    PostgreSQL watches for silence from the answer to a Sync until the next message of any kind. psycopg sends each
    statement when it comes, and a Flush behind the Sync: a process that froze then would keep its rows locked for
    ever. These are parts of psycopg by their names; `tests/integration/test_round_trips.py` holds them.
    """
    communicate = pipeline._communicate_gen  # noqa: SLF001

    def send_and_sync() -> Iterator[Any]:
        pipeline._enqueue_sync()  # noqa: SLF001
        yield from communicate()
        yield from send(pipeline.pgconn)  # what did not fit into the socket

    def sync_and_fetch() -> Iterator[Any]:
        try:
            yield from send_and_sync()
        except psycopg.Error:  # an answer that came while the rest was sent: those behind it only say that
            with suppress(psycopg.Error):
                yield from pipeline._fetch_gen(flush=False)  # noqa: SLF001
            raise
        yield from pipeline._fetch_gen(flush=False)  # noqa: SLF001

    pipeline._communicate_gen = _hold_back  # noqa: SLF001
    pipeline._send_gen = send_and_sync  # noqa: SLF001
    pipeline._sync_gen = pipeline._exit_gen = sync_and_fetch  # noqa: SLF001
