"""Embedded servers whose folder, parent, processes or ports are taken from them."""

import os
import shutil
import signal
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from tests.fixtures.stacks import pids, read_everywhere, until, write_everywhere
from worker.operations import embedded
from worker.operations.embedded import Stack


class Rude(socketserver.TCPServer):
    allow_reuse_address = True


@contextmanager
def somebody_else_on(port: int) -> Iterator[None]:
    """A server that hangs up on whoever calls."""
    with Rude(("127.0.0.1", port), socketserver.BaseRequestHandler) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield
        server.shutdown()
        serving.join()


def test_servers_of_a_removed_folder_end_at_the_next_start_and_their_data_with_them(folder: Path) -> None:
    write_everywhere(embedded.start(folder))
    started = pids(folder)
    elsewhere = folder / "elsewhere"
    if not elsewhere.is_symlink():
        embedded.stop(folder)
    shutil.rmtree(folder)

    urls = embedded.start(folder)

    assert not set(started) & set(pids(folder))
    with psycopg.connect(urls.postgres) as postgres:
        assert postgres.execute("SELECT to_regclass('marks')").fetchone() == (None,)


def test_servers_that_are_dying_with_their_parent_are_not_mistaken_for_running_ones(folder: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\nfrom worker.operations import embedded\n"
        "embedded.Stack(embedded.Place.of(pathlib.Path(sys.argv[1]))).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, folder], check=False)

    with embedded.running_servers(folder) as urls:
        write_everywhere(urls)

        assert not until(lambda: len(pids(folder)) < 3, timeout_s=1)
        assert read_everywhere(urls) == [42, 42, 42]
    assert pids(folder) == []


def test_a_busy_session_of_a_killed_postgres_does_not_keep_it_down(own_servers: Stack) -> None:
    postgres, pid = own_servers.postgres, own_servers.postgres.pid
    assert pid is not None
    with psycopg.connect(postgres.url) as session, ThreadPoolExecutor(1) as pool:
        busy = pool.submit(session.execute, "SELECT count(*) FROM generate_series(1, 1000000000) AS n")
        with psycopg.connect(postgres.url, autocommit=True) as other:
            running = (
                "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%series(1,%%' AND pid <> %s"
            )
            mine = other.info.backend_pid
            assert until(lambda: other.execute(running, [mine]).fetchone() is not None)

        os.kill(pid, signal.SIGKILL)
        assert until(lambda: postgres.pid is None)
        postgres.start()

        with pytest.raises(psycopg.OperationalError):
            busy.result()
    assert postgres.answers()


def test_a_killed_mongo_and_a_killed_redis_come_back_with_what_they_acknowledged(own_servers: Stack) -> None:
    before = own_servers.urls
    write_everywhere(before)

    for server in (own_servers.mongo, own_servers.redis):
        server.kill()
        server.start()

    assert own_servers.urls == before
    assert read_everywhere(before) == [42, 42, 42]


def test_a_port_that_somebody_took_is_replaced_and_the_data_stays(own_servers: Stack) -> None:
    write_everywhere(own_servers.urls)
    taken = [server.port for server in own_servers.servers]
    own_servers.stop()

    with ExitStack() as others:
        for port in taken:
            others.enter_context(somebody_else_on(port))
        own_servers.start()

    assert not set(taken) & {server.port for server in own_servers.servers}
    assert read_everywhere(own_servers.urls) == [42, 42, 42]
