"""Redis: every write goes to the append-only file, and nothing is ever evicted."""

from typing import ClassVar, Literal

from redis import Redis as Client
from redis import RedisError

from worker.operations.embedded.place import Place
from worker.operations.embedded.ports import LOCALHOST
from worker.operations.embedded.server import Server

AppendFsync = Literal["everysec", "always"]


class Redis(Server):
    """redis-server; with `appendfsync="always"` an acknowledged write survives its kill for certain."""

    name: ClassVar[str] = "redis"
    executable: ClassVar[str] = "redis-server"

    def __init__(
        self,
        place: Place,
        *,
        port: int | None = None,
        bound: bool = True,
        appendfsync: AppendFsync = "everysec",
    ) -> None:
        super().__init__(place, port=port, bound=bound)
        self.appendfsync: AppendFsync = appendfsync

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://{LOCALHOST}:{self.port}/0"

    def _prepare(self) -> None:
        self.place.data_folder(self.name)

    def _command(self) -> list[str]:
        return [
            *(str(self.program.path), "--dir", str(self.data), "--port", str(self.port)),
            *("--bind", LOCALHOST, "--daemonize", "no", "--save", ""),
            *("--appendonly", "yes", "--appendfsync", self.appendfsync),
            *("--maxmemory-policy", "noeviction"),
            # Its command line stays as given, so that it can be told from anybody else's.
            *("--set-proc-title", "no"),
        ]

    def _serves(self) -> str | None:
        try:
            with Client.from_url(self.url, socket_timeout=2, decode_responses=True) as client:
                return str(client.config_get("dir")["dir"])
        except RedisError:  # still loading its file, for one
            return None
