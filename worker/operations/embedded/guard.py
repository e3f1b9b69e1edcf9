"""Starts one server, and stops it when the process that asked for it has gone.

Run as a script, with the standard library only, so that it starts fast and stays small:
`guard.py '{"command": […], "owner": pid or null, …}'`. It answers with one line of JSON, `{"pid": …}` or
`{"error": …}`. Without an owner it ends there and the server lives on by itself.

A parent-death signal alone would not do: the kernel sends it when the *thread* ends that started the
child. Here it only covers the death of the guard itself, which has one thread.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
LOOK_S = 0.2
WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

libc = ctypes.CDLL(None)


def main() -> None:
    """Do what the first argument says."""
    order = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # from here on a signal waits to be looked at
    try:
        server = start(order)
    except OSError as error:
        answer({"error": f"{error.strerror}: {error.filename}"})
        sys.exit(1)
    answer({"pid": server.pid})
    if order["owner"] is None:
        os._exit(0)
    watch(server, order)


def start(order: dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Start the server in a session of its own, where the terminal's Ctrl-C does not reach it."""

    def last_steps() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if order["owner"] is not None:
            # After the change of user, which clears it: subprocess calls this last.
            libc.prctl(PR_SET_PDEATHSIG, order["stops"][0][0])

    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(
            order["command"],
            cwd=order["folder"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=last_steps,  # noqa: PLW1509 - safe: this process has one thread
            **order["user"],
        )
    finally:
        os.close(log)


def answer(message: dict[str, object]) -> None:
    """Tell the caller how it went, and let go of its pipe."""
    print(json.dumps(message), flush=True)
    os.dup2(os.open(os.devnull, os.O_RDWR), sys.stdout.fileno())


def watch(server: "subprocess.Popen[bytes]", order: dict[str, Any]) -> None:
    """Return when the server has ended; end it when its owner has, or when told to."""
    while server.poll() is None:
        caught = signal.sigtimedwait(WATCHED, LOOK_S)
        told = caught is not None and caught.si_signo != signal.SIGCHLD
        if told or os.getppid() != order["owner"]:
            return stop(server, order)
    return None


def stop(server: "subprocess.Popen[bytes]", order: dict[str, Any]) -> None:
    """Send the signals of the order until the server has ended."""
    for number, grace_s in [*order["stops"], (signal.SIGKILL, 10)]:
        server.send_signal(number)
        try:
            server.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue
        return


if __name__ == "__main__":
    main()
