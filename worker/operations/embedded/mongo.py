"""MongoDB: a replica set of one node, without which there are no majority writes and no transactions."""

import time
from typing import Any, ClassVar

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from worker.operations.embedded.errors import ServerFailed
from worker.operations.embedded.place import Place
from worker.operations.embedded.ports import LOCALHOST
from worker.operations.embedded.server import Server

NOT_YET_INITIALIZED = 94

Client = MongoClient[dict[str, Any]]


class MongoDB(Server):
    """mongod with a small cache; `test_commands` lets tests set failpoints."""

    name: ClassVar[str] = "mongo"
    executable: ClassVar[str] = "mongod"

    def __init__(
        self, place: Place, *, port: int | None = None, bound: bool = True, test_commands: bool = False
    ) -> None:
        super().__init__(place, port=port, bound=bound)
        self.test_commands = test_commands

    @property
    def url(self) -> str:
        """The database `trivet`; direct, for the replica set may still name yesterday's port."""
        return f"mongodb://{LOCALHOST}:{self.port}/trivet?directConnection=true"

    def _prepare(self) -> None:
        self.place.data_folder(self.name)

    def _command(self) -> list[str]:
        parameters = ["diagnosticDataCollectionEnabled=false"]
        parameters += ["enableTestCommands=1"] if self.test_commands else []
        return [
            *(str(self.program.path), "--dbpath", str(self.data), "--port", str(self.port)),
            *("--bind_ip", LOCALHOST, "--nounixsocket", "--replSet", "trivet"),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"),
            *(word for parameter in parameters for word in ("--setParameter", parameter)),
        ]

    def _serves(self) -> str | None:
        try:
            with self._client() as client:
                options = client.admin.command("getCmdLineOpts")
        except PyMongoError:
            return None
        return str(options["parsed"]["storage"]["dbPath"])

    def _settle(self, deadline: float) -> None:
        with self._client() as client:
            while not self._is_primary(client):
                if time.monotonic() > deadline:
                    raise ServerFailed(f"mongo did not become primary; see {self.log}")
                time.sleep(0.02)

    def _is_primary(self, client: Client) -> bool:
        try:
            self._configure(client)
            return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:  # it may still be reading its own configuration
            return False

    def _configure(self, client: Client) -> None:
        """Make the replica set, or tell it the port of today."""
        host = f"{LOCALHOST}:{self.port}"
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != NOT_YET_INITIALIZED:
                raise
            client.admin.command("replSetInitiate", {"_id": "trivet", "members": [{"_id": 0, "host": host}]})
            return
        if config["members"][0]["host"] != host:
            config["members"][0]["host"] = host
            client.admin.command("replSetReconfig", {**config, "version": config["version"] + 1}, force=True)

    def _client(self) -> Client:
        return MongoClient(self.url, serverSelectionTimeoutMS=2000, socketTimeoutMS=5000)
