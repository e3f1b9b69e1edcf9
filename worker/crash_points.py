"""Named places at which a test may kill the process, or make the step fail.

`crash_point("after_commit")` does nothing unless the environment arms that point:
`TRIVET_CRASH_POINT=after_commit:kill` (SIGKILL) or `after_commit:raise`, and
`TRIVET_CRASH_ONCE=<path of a file that does not exist>`: the first process that gets there makes the file
and crashes, every later one passes.
"""

import os
import signal
from typing import Final, Literal, get_args

CrashPoint = Literal[
    # execution, in the order of its steps
    "after_read",
    "after_claim",
    "after_lock",
    "after_perform",
    "after_owe",
    "after_commit",
    # delivery, in the order of its steps
    "after_taking_shards",
    "after_redis_lane",
    "after_documents",
    "after_publish",
    "after_strike_off",
    "after_turn",
]

CRASH_POINTS: Final[tuple[CrashPoint, ...]] = get_args(CrashPoint)


class CrashedOnPurpose(Exception):
    """The step failed because a test armed this point."""


def crash_point(name: CrashPoint) -> None:
    """Crash here, once, if the environment arms this point."""
    armed = os.environ.get("TRIVET_CRASH_POINT")
    if armed is None or armed.partition(":")[0] != name or not _first():
        return
    if armed.endswith(":kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    raise CrashedOnPurpose(name)


def _first() -> bool:
    try:
        os.close(os.open(os.environ["TRIVET_CRASH_ONCE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
