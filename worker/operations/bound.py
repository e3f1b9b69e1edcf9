"""Runs a program that ends when its parent does: `bound.py PARENT PROGRAM [ARGUMENT…]`.

The kernel sends SIGTERM to the program when the thread that started it has ended, however it ended: start it
from a thread that lives as long as the process.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind this process to its parent, and become the program."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has gone already, and no signal will come
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the program is ours, and there is no shell


if __name__ == "__main__":
    main()
