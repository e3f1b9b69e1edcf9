"""What can go wrong with the embedded servers.

EmbeddedError (a TrivetError)
├── UnsupportedPlatform    these wheels do not run here; servers of one's own do
├── ProgramNotFound        neither the wheel nor the PATH has the server
├── MissingLibrary         the server is there, a shared library of the system is not
├── ServerFailed           the server ended, or did not answer in time; with the end of its log
└── NotRunning             the command needs running servers
"""

from worker.errors import TrivetError


class EmbeddedError(TrivetError):
    """The embedded servers cannot be used."""


class UnsupportedPlatform(EmbeddedError):
    """The embedded servers do not run on this machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the embedded servers do not run here: {reason}; set "
            "TRIVET_POSTGRES_URL, TRIVET_MONGO_URL and TRIVET_REDIS_URL to servers of your own"
        )


class ProgramNotFound(EmbeddedError):
    """The server is neither in its wheel nor on the PATH."""


class MissingLibrary(EmbeddedError):
    """The server cannot be loaded because the system lacks a shared library."""


class ServerFailed(EmbeddedError):
    """The server ended by itself, or did not become ready in time."""


class NotRunning(EmbeddedError):
    """The embedded servers are not running."""
