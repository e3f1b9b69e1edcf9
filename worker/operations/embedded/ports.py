"""Ports on 127.0.0.1: choose a free one, and see whether one is free."""

import random
import socket

LOCALHOST = "127.0.0.1"

# Below the range from which the kernel takes the ports of outgoing connections: one of those could
# sit on the port of a server that is down, and a client that knocks there could even meet itself.
CHOICE = range(20_000, 32_000)


def choose() -> int:
    """Return a port that nobody listens on."""
    while not is_free(port := random.choice(CHOICE)):  # noqa: S311 - a port is no secret
        pass
    return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port now."""
    with socket.socket() as probe:
        # As the servers do: a connection of the previous server in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    """Tell whether somebody listens on this port."""
    try:
        socket.create_connection((LOCALHOST, port), timeout=1).close()
    except OSError:
        return False
    return True
