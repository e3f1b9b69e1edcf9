"""Named places at which a test may kill or freeze the process, or make the step fail.

`crash_point("after_commit")` does nothing unless the environment arms that point with a fault,
`TRIVET_CRASH_POINT=after_commit:kill`, and names a file that does not exist, `TRIVET_CRASH_ONCE`: the first process
that gets there makes the file, with its pid in it, and crashes; every later one passes. The faults:

- `kill`: SIGKILL.
- `stall`: SIGSTOP; whoever sends SIGCONT lets it go on from there.
- `raise`: `CrashedOnPurpose`.
"""

import os
import signal
from pathlib import Path
from typing import Final, Literal, get_args

IntakePoint = Literal[
    "after_join",
    # in the order of a message's way
    "after_reserve",
    "before_running",
    "after_running",
    "after_submit",
    "after_death",
    "before_acknowledge",
    "after_acknowledge",
    # by the clock
    "before_renew",
    "before_sweep",
    "after_put_back",
    # at the end of the node
    "before_give_back",
    "after_give_back",
    "before_leave",
]
"""In the main process."""

JobPoint = Literal[
    # execution, in the order of its steps
    "after_read",
    "after_claim",
    "after_lock",
    "after_perform",
    "after_record",
    "after_commit",
    # delivery, in the order of its steps
    "after_taking_shards",
    "after_redis_lane",
    "after_documents",
    "after_publish",
    "after_strike_off",
    "after_turn",
]
"""In a pool process."""

SendPoint = Literal["after_send"]
"""Where a pool process sends what is due."""

PoolPoint = Literal["before_open"]
"""Where a pool process begins."""

TickPoint = Literal["before_tick_commit", "after_tick_commit"]
"""In beat."""

CrashPoint = IntakePoint | JobPoint | SendPoint | PoolPoint | TickPoint

INTAKE_POINTS: Final[tuple[IntakePoint, ...]] = get_args(IntakePoint)
JOB_POINTS: Final[tuple[JobPoint, ...]] = get_args(JobPoint)
SEND_POINTS: Final[tuple[SendPoint, ...]] = get_args(SendPoint)
POOL_POINTS: Final[tuple[PoolPoint, ...]] = get_args(PoolPoint)
TICK_POINTS: Final[tuple[TickPoint, ...]] = get_args(TickPoint)


class CrashedOnPurpose(Exception):
    """The step failed because a test armed this point."""


def crash_point(name: CrashPoint) -> None:
    """Crash here, once, if the environment arms this point."""
    armed = os.environ.get("TRIVET_CRASH_POINT")
    if armed is None or armed.partition(":")[0] != name or not _first():
        return
    match armed.partition(":")[2]:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stall":
            os.kill(os.getpid(), signal.SIGSTOP)
        case _:
            raise CrashedOnPurpose(name)


def _first() -> bool:
    try:
        with Path(os.environ["TRIVET_CRASH_ONCE"]).open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True
