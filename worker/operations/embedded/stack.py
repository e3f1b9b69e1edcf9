"""The three servers of one place: started side by side, all or none, and stopped together."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from shutil import rmtree
from typing import TypeVar

from worker.operations.embedded import state
from worker.operations.embedded.mongo import MongoDB
from worker.operations.embedded.place import Place
from worker.operations.embedded.postgres import PostgreSQL
from worker.operations.embedded.redis import AppendFsync, Redis
from worker.operations.embedded.server import Server

Result = TypeVar("Result")


@dataclass(frozen=True)
class Urls:
    """Where the three servers are; PostgreSQL's holds its password."""

    postgres: str
    mongo: str
    redis: str

    def environment(self) -> dict[str, str]:
        """Return the settings of a worker that uses these servers."""
        return {
            "TRIVET_POSTGRES_URL": self.postgres,
            "TRIVET_MONGO_URL": self.mongo,
            "TRIVET_REDIS_URL": self.redis,
        }


@dataclass(frozen=True)
class Options:
    """What tests may want otherwise: `durable=False` saves PostgreSQL's fsync, never for a kill test."""

    durable: bool = True
    appendfsync: AppendFsync = "everysec"
    test_commands: bool = False


class Stack:
    """The three servers of a place, not started yet; `bound` to this process, or living on by themselves."""

    def __init__(self, place: Place, options: Options | None = None, *, bound: bool = True) -> None:
        options = options or Options()
        ports = {name: entry.port for name, entry in state.read(place).items()}
        self.place = place
        self.postgres = PostgreSQL(place, port=ports.get("postgres"), bound=bound, durable=options.durable)
        self.mongo = MongoDB(place, port=ports.get("mongo"), bound=bound, test_commands=options.test_commands)
        self.redis = Redis(place, port=ports.get("redis"), bound=bound, appendfsync=options.appendfsync)

    @property
    def servers(self) -> tuple[Server, ...]:
        """All three."""
        return self.postgres, self.mongo, self.redis

    @property
    def urls(self) -> Urls:
        """Where they are, once started."""
        return Urls(self.postgres.url, self.mongo.url, self.redis.url)

    def start(self) -> list[Server]:
        """Start those that do not run in good health, and return them; all or none."""
        with self.place.locked():
            self._clear_what_was_abandoned()
            self.place.prepare()
            found = _side_by_side(Server.adopt, self.servers)
            missing = [server for server, there in zip(self.servers, found, strict=True) if not there]
            try:
                _side_by_side(Server.start, missing)
            except BaseException:
                _side_by_side(Server.stop, missing)
                raise
            self._remember(missing)
        return missing

    def stop(self, servers: Collection[Server] | None = None) -> None:
        """Stop these servers, or all; whatever does not run is left alone."""
        with self.place.locked():
            _side_by_side(Server.stop, self.servers if servers is None else servers)

    def kill(self) -> None:
        """Kill all three at once."""
        _side_by_side(Server.kill, self.servers)

    def look(self) -> bool:
        """Take note of what runs, whoever started it; False when nothing does."""
        return True in _side_by_side(Server.look, self.servers)

    def _clear_what_was_abandoned(self) -> None:
        if self.place.abandoned:
            self.look()
            _side_by_side(Server.stop, self.servers)
            rmtree(self.place.home)

    def _remember(self, started: Collection[Server]) -> None:
        known = state.read(self.place)
        for server in self.servers:
            version = server.program.version if server in started else None
            if version is None and server.name in known:
                version = known[server.name].version
            known[server.name] = state.Entry(port=server.port, pid=server.pid, version=version)
        state.write(self.place, known)


def _side_by_side(work: Callable[[Server], Result], servers: Collection[Server]) -> list[Result]:
    with ThreadPoolExecutor(max_workers=3) as pool:
        return list(pool.map(work, servers))
