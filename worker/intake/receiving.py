"""Where a message goes that a node has taken: to the next batch of its task, to Celery, or to be parked."""

from collections.abc import Callable, Collection

from redis.exceptions import RedisError

from worker.errors import Unreadable
from worker.execution.job import JOBS
from worker.intake.arrivals import Arrival
from worker.intake.elements import Element, delay_s, read_element, unknown, unreadable
from worker.intake.gathering import DEATHS_MAX, Gathering
from worker.intake.leases import Leased
from worker.intake.specials import Specials
from worker.messages import Message

ToCelery = Callable[[Element, Leased], None]
"""Delivers a message to Celery's own strategy; whatever it raises is about this message, or is Redis'."""


def receive(
    leased: Leased, known: Collection[str], gathering: Gathering, specials: Specials, to_celery: ToCelery | None
) -> None:
    """Read a message and pass it on; `known` are the tasks of this worker. Whatever it holds, nothing is raised."""
    try:
        element = read_element(leased.raw)
    except Unreadable as error:
        gathering.add(_arrival(unreadable(leased.raw), leased, ("unreadable", str(error))))
        return
    message = element.message
    headers = element.payload["headers"]
    if message.task not in known:
        why = ("unknown_task", f"no task is named {message.task[:200]}")
        gathering.receive(_arrival(unknown(message), leased, why), headers)
    elif to_celery is not None and (element.special or message.task not in JOBS):
        _pass_on(to_celery, element, leased, gathering, specials)
    else:
        gathering.receive(_arrival(message, leased), headers, delay_s(element.eta))


def _arrival(message: Message, leased: Leased, give_up: tuple[str, str] | None = None) -> Arrival:
    return Arrival(message, leased.tag, leased.queue, leased.deaths, give_up)


def _pass_on(
    to_celery: ToCelery, element: Element, leased: Leased, gathering: Gathering, specials: Specials
) -> None:
    arrival = _arrival(element.message, leased)
    if leased.deaths is not None and leased.deaths >= DEATHS_MAX:
        gathering.add(arrival)  # which parks it
        return
    specials.add(arrival)
    try:
        to_celery(element, leased)
    except (RedisError, OSError):
        specials.give_back(leased.tag)
    except Unreadable as error:
        specials.refuse(leased.tag, ("unreadable", str(error)))
    except Exception as error:  # noqa: BLE001 - whatever a message does to Celery, the node goes on
        specials.refuse(leased.tag, ("unreadable", f"Celery cannot read it: {error!r}"))
