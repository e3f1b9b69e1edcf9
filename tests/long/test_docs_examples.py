"""The examples of the documentation do what they say: each page is followed in a copy of the application."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docs.blocks import ROOT, Block, blocks, pages
from tests.fixtures.nodes import WorkerNode
from worker.operations import embedded
from worker.stores.resources import Resources

COPIED = ("tasks", "migrations", "deploy", "celeryconfig.py", "pyproject.toml", "docker-compose.yml")
TESTING = ("tests/__init__.py", "tests/conftest.py", "tests/fixtures", "tests/integration/__init__.py")
BASH = "/bin/bash"
BRINGS_ITS_SERVERS = "docs/tutorial/first-job.md"


def is_followed(block: Block) -> bool:
    return block.how in {"file", "line"} or block.what in {"client", "shell", "background"}


FOLLOWED = {
    page.relative_to(ROOT).as_posix(): [one for one in blocks(page) if is_followed(one)] for page in pages()
}
TO_FOLLOW = sorted(name for name, found in FOLLOWED.items() if found and name != BRINGS_ITS_SERVERS)


@dataclass
class Reader:
    """Follows the blocks of a page in a folder that holds a copy of the application."""

    folder: Path
    environment: dict[str, str]
    running: ExitStack
    node: WorkerNode | None = None
    program: list[Block] = field(default_factory=list)
    ran: int = 0

    def follow(self, page: Sequence[Block]) -> None:
        """Do what the marks above the blocks say."""
        for block in page:
            if block.what != "client":
                self._run_program()
            self._follow(block)
        self._run_program()

    def _follow(self, block: Block) -> None:
        match block.how, block.what:
            case "file", path:
                self._write(path, block.text)
            case "line", path:
                self._replace_line(path, block.text)
            case "run", "background":
                self.start(block.text)
            case "run", "client":
                self.program.append(block)
            case "run", "shell":
                self.shell(block.text)

    def shell(self, script: str) -> None:
        """Run commands; what they export holds for those that follow."""
        kept = self.folder / "exported"
        kept.touch()
        self._run([BASH, "-euo", "pipefail", "-c", f". {kept}\n{script}\nexport -p > {kept}"])

    def start(self, command: str) -> None:
        """Start a command and leave it running; the one before gets Ctrl-C."""
        if self.node is not None:
            self.node.process.send_signal(signal.SIGINT)
            assert self.node.process.wait(45) == 0, self.node.log.read_text()
        log = self.folder / "background.log"
        (self.folder / "exported").touch()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [BASH, "-c", f". ./exported; exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        self.running.callback(process.wait)
        self.running.callback(process.kill)
        self.node = WorkerNode(process, log)
        self.node.wait_ready()

    def _run_program(self) -> None:
        if self.ran == len(self.program):
            return
        self.ran = len(self.program)
        (self.folder / "exported").touch()
        (self.folder / "client.py").write_text("\n".join(block.text for block in self.program))
        printed = self._run([BASH, "-c", f". ./exported; exec {sys.executable} client.py"])
        expected = [line for block in self.program for line in block.expected]
        assert [line for line in expected if line not in printed] == [], printed

    def _write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text)
        if path.startswith("tests/"):
            self._run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path])

    def _replace_line(self, path: str, line: str) -> None:
        file = self.folder / path
        start = re.escape(line.split(maxsplit=1)[0])
        changed, times = re.subn(rf"^{start} .*\n", line, file.read_text(), flags=re.MULTILINE)
        assert times == 1, f"{path} has {times} lines that begin with {start}"
        file.write_text(changed)

    def _run(self, command: Sequence[str]) -> str:
        ran = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
        return ran.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody who has a clone, the commands on the PATH, and no settings yet."""
    for name in (*COPIED, *TESTING):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(tmp_path)
    environment["COLUMNS"] = "200"
    with ExitStack() as running:
        yield Reader(tmp_path, environment, running)


def test_who_follows_the_tutorial_gets_to_its_end(reader: Reader) -> None:
    reader.running.callback(embedded.erase, reader.folder / ".trivet")

    reader.follow(FOLLOWED[BRINGS_ITS_SERVERS])

    assert [server.up for server in embedded.status(reader.folder / ".trivet")] == [False, False, False]


@pytest.mark.parametrize("page", TO_FOLLOW)
def test_the_examples_of_a_page_run_against_a_worker(
    reader: Reader, servers: embedded.Urls, given: Resources, page: str
) -> None:
    reader.environment |= servers.environment()
    what_is_written = [block for block in FOLLOWED[page] if block.how in {"file", "line"}]
    what_is_run = [block for block in FOLLOWED[page] if block.how == "run"]

    reader.follow(what_is_written)
    if what_is_run:
        reader.start("trivet worker --concurrency 1")
    reader.follow(what_is_run)


def test_an_example_that_fails_or_prints_something_else_is_found(reader: Reader) -> None:
    page = ROOT / "README.md"
    wrong = [
        Block(page, "python", "raise SystemExit(1)\n", "run", "client"),
        Block(page, "python", "print(1)  # → 2\n", "run", "client"),
        Block(page, "sh", "false\ntrue\n", "run", "shell"),
        Block(page, "python", "nothing = ()\n", "line", "celeryconfig.py"),
    ]

    for block in wrong:
        reader.program, reader.ran = [], 0
        with pytest.raises(AssertionError):
            reader.follow([block])


def test_pages_with_examples_are_found() -> None:
    assert {"README.md", "docs/how-to/enqueue-from-celery.md", "docs/how-to/write-a-job.md"} <= set(TO_FOLLOW)
