"""MongoDB: the client, whose writes are acknowledged by a majority and whose every wait has an end."""

from typing import Any
from urllib.parse import unquote, urlsplit

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError

from worker.errors import WrongSettings
from worker.settings import Settings

Json = dict[str, Any]

SELECTION_TIMEOUT_S = 2
"""How long an operation waits for a primary."""

SOCKET_TIMEOUT_S = 5
"""How long an operation waits for an answer; a read or write that can be repeated is tried once more."""

WRITE_TIMEOUT_S = 5
"""How long a write waits for the majority; past it, the write is there and not known to be safe."""


def open_mongo(settings: Settings) -> MongoClient[Json]:
    """Make the client of this process: open it after fork, for its threads and locks do not survive one.

    It connects in the background; the first operation waits for that. Close it at the end. TLS and
    credentials are the URL's; safety and timeouts are ours, also against the URL, because deliveries are
    planned with them. Raises `WrongSettings` when the URL cannot be read.
    """
    try:
        return MongoClient(
            settings.mongo_url.get_secret_value(),
            appname="trivet",
            w="majority",
            journal=True,
            wTimeoutMS=WRITE_TIMEOUT_S * 1_000,
            retryWrites=True,
            retryReads=True,
            serverSelectionTimeoutMS=SELECTION_TIMEOUT_S * 1_000,
            # A monitor that polls looks again at once when an operation asks; one that streams may hang in its
            # question for ten seconds while the server is back.
            serverMonitoringMode="poll",
            connectTimeoutMS=2_000,
            socketTimeoutMS=SOCKET_TIMEOUT_S * 1_000,
            waitQueueTimeoutMS=SELECTION_TIMEOUT_S * 1_000,
            maxPoolSize=4,  # one delivery turn a process, and room for a reconciliation beside it
            tz_aware=True,
            uuidRepresentation="standard",
        )
    except (ConfigurationError, ValueError):  # its text may quote the URL
        raise WrongSettings("TRIVET_MONGO_URL is wrong: MongoDB's client cannot read it") from None


def database(client: MongoClient[Json], settings: Settings) -> Database[Json]:
    """The database that the URL's path names, or else `trivet`."""
    path = urlsplit(settings.mongo_url.get_secret_value()).path
    return client.get_database(unquote(path.strip("/")) or "trivet")
