"""RQ's job: RQ imports it by name in the worker, so the queue is not needed here."""

from bench.orders import Order
from bench.work.blocking import Stores

_opened: list[Stores] = []


def transfer(job_id: str, source: str, target: str, amount: int) -> None:
    """Do the whole work of a transfer; the first job of a process opens its clients."""
    if not _opened:
        _opened.append(Stores())
    _opened[0].transfer("rq", Order(job_id, source, target, amount))
