"""A Redis that is too old is refused at the start of a worker, in one line.

No such server is at hand. A small peer stands in for it, which speaks just enough of its protocol: Redis 5 knows
no HELLO, and says so.
"""

import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from worker.errors import WrongSettings
from worker.intake.line import require_version
from worker.operations.embedded import Urls

ANSWERS = {b"PING": b"+PONG\r\n", b"HELLO": b"-ERR unknown command `HELLO`, with args beginning with: \r\n"}


class _Redis5(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while first := self.rfile.readline():
            name, *_ = [self._word() for _ in range(int(first[1:]))]
            self.wfile.write(ANSWERS.get(name.upper(), b"+OK\r\n"))

    def _word(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]


@pytest.fixture
def redis_5(servers: Urls) -> Iterator[Urls]:
    """The servers of this test process, but with something in the place of Redis that answers as Redis 5 does."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Redis5) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield replace(servers, redis=f"redis://127.0.0.1:{server.server_address[1]}/0")
        server.shutdown()


def test_a_worker_refuses_a_redis_that_is_too_old_in_one_line(redis_5: Urls) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.odd_jobs", "worker", "--concurrency=1"],
        env=os.environ | redis_5.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == "trivet: Redis is older than 6: upgrade Redis to 6.2 or newer"
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("version", ["5", "6.0.20", "6.1"])
def test_what_is_older_than_6_2_is_refused(version: str) -> None:
    with pytest.raises(WrongSettings, match=rf"Redis {version} is too old: 6.2 or later is needed"):
        require_version(version)


@pytest.mark.parametrize("version", ["6.2.0", "6.10", "7.0.15", "8.2.1", "10.0"])
def test_what_is_as_new_as_6_2_is_not(version: str) -> None:
    require_version(version)
