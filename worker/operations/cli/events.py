"""`trivet events`: completion events from the stream, what it has and what comes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
import typer
from redis import Redis
from rich.console import Console
from rich.text import Text

from worker.delivery.events import STREAM, Event
from worker.delivery.reading import BEGINNING, END
from worker.errors import Gap, Outcome, TrivetError
from worker.operations.cli.telling import COLOURS, plain
from worker.operations.logs import configure_logs
from worker.settings import read_settings
from worker.stores.redis import open_redis
from worker.stores.redis_errors import redis_trouble
from worker.subscriber import Subscriber

WINDOW: Final = 10_000
"""Events whose repeats are dropped: few enough to begin at once."""


class NoSuchPosition(TrivetError):
    """What was given is no place in the stream."""


def register(app: typer.Typer) -> None:
    """Add the command `events tail` to `app`."""
    events = typer.Typer(help="Completion events.\n\nExample: trivet events tail", no_args_is_help=True)
    events.command()(tail)
    app.add_typer(events, name="events")


def tail(
    *,
    since: Annotated[
        str, typer.Option(help="Begin behind this position or event id; 0: the oldest, $: the next one.")
    ] = BEGINNING,
    kind: Annotated[str, typer.Option("--type", help="Only these types; * and ? stand for others.")] = "*",
    follow: Annotated[bool, typer.Option(help="Go on with what comes, until Ctrl-C.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print each CloudEvent, one a line.")] = False,
) -> None:
    """Print the completion events that the stream has, and follow it; each begins with its position.

    Example: trivet events tail --since '$' --type "accounts.*.rejected"
    """
    settings = read_settings()
    configure_logs(settings, role="events")
    show = _as_json if as_json else _for_people(Console(highlight=False))
    with closing(open_redis(settings)) as redis, _until_the_reader_has_enough():
        position = _position(redis, since)
        with Subscriber(redis, position, types=kind, follow=follow, window=WINDOW) as events:
            for event in events:
                show(event)


def _as_json(event: Event) -> None:
    print(event.text, flush=True)


def _for_people(console: Console) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        # A terminal shows what fits into a line; a file gets all.
        whole = not console.is_terminal
        console.print(_line(event), no_wrap=True, overflow="ignore" if whole else "ellipsis", crop=not whole)

    return show


def _line(event: Event) -> Text:
    line = Text(event.position, style="dim").append(f"  {event.time:%m-%d %H:%M:%S}  ", style="default not dim")
    line.append(event.type, style=f"{COLOURS[event.outcome]} not dim")
    return line.append_text(Text("  ", style="not dim").append_text(plain(f"{event.subject}  {_data(event)}")))


def _data(event: Event) -> str:
    match event.data:
        case None:
            return ""
        case {"code": code, "message": message} if event.outcome is not Outcome.SUCCEEDED:
            return f"{code}: {message}"
        case data:
            return orjson.dumps(data).decode()


@contextmanager
def _until_the_reader_has_enough() -> Iterator[None]:
    """End quietly on Ctrl-C, and when whoever reads the output has gone (`| head`)."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _position(redis: Redis, since: str) -> str:
    """The position that is meant. Raises `Gap` for one older than the stream, `NoSuchPosition`."""
    if since in {BEGINNING, END}:
        return since
    with suppress(ValueError):
        return _of_event(redis, UUID(since))
    if not since.replace("-", "", 1).isdecimal():
        raise NoSuchPosition(f"{since} is neither a position (like 1700000000000-0), nor an event's id, nor 0 or $")
    with redis_trouble():
        before: Any = redis.xrevrange(STREAM, max=since, count=1)
    if not before:
        raise Gap(since)
    position: str = before[0][0].decode()
    return position


def _of_event(redis: Redis, event_id: UUID) -> str:
    for event in Subscriber(redis, follow=False, window=1):
        if event.id == event_id:
            return event.position
    raise NoSuchPosition(f"no event in the stream has the id {event_id}; what it has: trivet events tail")
