"""Real PostgreSQL, MongoDB and Redis from PyPI wheels, as child processes: for development, demo and tests."""

from worker.operations.embedded.errors import (
    EmbeddedError,
    MissingLibrary,
    NotRunning,
    ProgramNotFound,
    ServerFailed,
    UnsupportedPlatform,
)
from worker.operations.embedded.folder import (
    FOLDER,
    ServerStatus,
    erase,
    running_servers,
    running_urls,
    start,
    status,
    stop,
)
from worker.operations.embedded.mongo import MongoDB
from worker.operations.embedded.place import Place
from worker.operations.embedded.postgres import PostgreSQL
from worker.operations.embedded.redis import Redis
from worker.operations.embedded.server import Server
from worker.operations.embedded.stack import Options, Stack, Urls

__all__ = [
    "FOLDER",
    "EmbeddedError",
    "MissingLibrary",
    "MongoDB",
    "NotRunning",
    "Options",
    "Place",
    "PostgreSQL",
    "ProgramNotFound",
    "Redis",
    "Server",
    "ServerFailed",
    "ServerStatus",
    "Stack",
    "UnsupportedPlatform",
    "Urls",
    "erase",
    "running_servers",
    "running_urls",
    "start",
    "status",
    "stop",
]
