"""What a database error means for the work at hand: PostgreSQL is away, it is busy, or the error is ours.

SQLSTATE codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from enum import StrEnum

import psycopg
from sqlalchemy import exc


class Trouble(StrEnum):
    """The kinds of database errors, by what to do about them."""

    AWAY = "away"
    """PostgreSQL cannot be reached or cannot write: wait for it, count nothing."""

    BUSY = "busy"
    """Others were in the way: start the transaction again, with jitter."""

    SLOW = "slow"
    """It took too long, or somebody keeps a row for too long: what does not need it can go on."""

    SILENT = "silent"
    """Our own code was silent for too long inside the transaction, and its session has been ended."""

    OTHER = "other"
    """Neither: the statement or its data are wrong."""


_AWAY_CLASSES = ("08",)  # the connection failed, or its outcome is unknown
_AWAY = {
    "53100",  # the disk is full
    "53300",  # no connection is free
    "25006",  # read-only: a server that was the primary before a failover
    "57P01",  # shut down, or this session ended by an administrator
    "57P02",  # another process of the server crashed
    "57P03",  # starting up
    "57P05",  # the session was idle for too long
    "58030",  # the server's disk failed
}
_BUSY = {
    "53200",  # out of memory or of locks: perhaps one job alone asks for too much
    "53400",  # a configured limit, like that of temporary files
    "40001",  # serialization failure
    "40P01",  # deadlock
}
_SLOW = {
    "25P04",  # the transaction took too long
    "55P03",  # a lock was not to be had in time
    "57014",  # cancelled: usually the statement timeout
}
_SILENT = {
    "25P03",  # silent inside a transaction for too long
}

# When the reset of the connection overtakes the server's last words, libpq passes on a text without a code.
# In another language than English it counts as AWAY, which costs no more than the reconnection due anyway.
_FROZEN = "idle-in-transaction timeout"


def classify(error: BaseException) -> Trouble:
    """Say what `error` means: an error of SQLAlchemy or of psycopg; any other is `OTHER`."""
    match error:
        case exc.DBAPIError():
            trouble = classify(error.orig) if error.orig is not None else Trouble.OTHER
            lost = error.connection_invalidated
            return Trouble.AWAY if lost and trouble is Trouble.OTHER else trouble
        case exc.TimeoutError():  # no connection of the pool came free
            return Trouble.AWAY
        case exc.PendingRollbackError(code="8s2b"):  # used again after its connection was lost
            return Trouble.AWAY
        case psycopg.Error(sqlstate=str() as sqlstate):
            return Trouble.BUSY if _was_recorded_meanwhile(error) else _by_code(sqlstate)
        case psycopg.OperationalError():
            return Trouble.SILENT if _FROZEN in str(error) else Trouble.AWAY
        case _:
            return Trouble.OTHER


def _was_recorded_meanwhile(error: psycopg.Error) -> bool:
    """Whether another transaction has recorded a job since it was claimed: started again, this one finds it."""
    told = error.diag
    return (error.sqlstate, told.schema_name, told.constraint_name) == ("23505", "trivet", "jobs_pkey")


def _by_code(sqlstate: str) -> Trouble:
    for codes, trouble in ((_BUSY, Trouble.BUSY), (_SLOW, Trouble.SLOW), (_SILENT, Trouble.SILENT)):
        if sqlstate in codes:
            return trouble
    if sqlstate in _AWAY or sqlstate.startswith(_AWAY_CLASSES):
        return Trouble.AWAY
    return Trouble.OTHER
