"""The documentation is in step with the code: pages, links, examples, settings, states."""

import ast
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from docs.blocks import ROOT, Block, blocks, pages
from docs.generate import NOTICE, stale, write
from docs.pages.commands import commands
from docs.pages.refusals import refusals
from docs.pages.settings import EXAMPLE, read_example
from docs.pages.tasks import declared
from worker.delivery import due, outbox
from worker.errors import Outcome
from worker.execution.ticks import read_entries
from worker.messages import derive_id
from worker.settings import PREFIX, Settings

BLOCKS = [block for page in pages() for block in blocks(page)]
HAND_WRITTEN = [page for page in pages() if "reference" not in page.parts]
STATES = ROOT / "docs" / "explanation" / "states.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH_IN_TEXT = re.compile(r"`((?:worker|tasks|tests|migrations|docs|bench)/[\w./-]*|\w+\.(?:py|md|lock|toml))`")


def ids(values: list[Any]) -> list[str]:
    return [str(value).replace(str(ROOT), "") for value in values]


# Reference pages


def test_the_reference_is_what_the_code_says() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_a_page_that_was_changed_or_removed_or_is_made_no_longer_is_stale(tmp_path: Path) -> None:
    write(tmp_path)
    assert stale(tmp_path) == []

    reference = tmp_path / "reference"
    (reference / "tasks.md").write_text("changed")
    (reference / "events.md").unlink()
    (reference / "more.md").write_text(f"{NOTICE}made no longer")
    (reference / "own.md").write_text("written by hand")
    (tmp_path / "asyncapi.json").write_text("{}")

    assert stale(tmp_path) == ["asyncapi.json", "reference/events.md", "reference/more.md", "reference/tasks.md"]


@pytest.mark.parametrize(
    ("task", "codes"),
    [
        ("users.create", {"email_taken"}),
        ("accounts.open", {"user_not_found"}),
        ("documents.put", {"collection_not_allowed", "document_invalid", "version_conflict"}),
        ("sessions.touch", {"session_not_found"}),
        ("notifications.send", {"user_not_found", "rate_limited"}),
        ("accounts.deposit", {"account_not_found", "account_closed"}),
        (
            "accounts.transfer",
            {"account_not_found", "account_closed", "insufficient_funds", "same_account", "currency_mismatch"},
        ),
    ],
)
def test_the_refusals_of_a_task_are_found_in_its_source(task: str, codes: set[str]) -> None:
    (job,) = (job for job in declared() if job.name == task)

    assert codes <= set(refusals(job))


# Links and paths


def anchors(page: Path) -> set[str]:
    """The headings, as GitHub makes anchors of them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    return [link for link in LINK.findall(text) if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    if link.startswith("https://"):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", pages(), ids=ids(pages()))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_a_broken_link_is_found() -> None:
    text = "[a](LICENSE) [b](no.md) [c](docs/README.md#no) [d](#two-commands) [e](https://semver.org/)"

    assert broken_links(ROOT / "README.md", text) == ["no.md", "docs/README.md#no"]


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=ids(HAND_WRITTEN))
def test_every_file_that_is_named_exists(page: Path) -> None:
    made_here = {block.what for block in blocks(page) if block.how == "file"}
    named = (
        set(PATH_IN_TEXT.findall(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)))
        - made_here
    )
    not_kept = {"uv.lock", "pylock.toml", "migrations/versions/0042_what_it_does.py"}

    gone = {name for name in named - not_kept if not (ROOT / name).exists() and not list(page.parent.glob(name))}

    assert gone == set()


def test_no_page_holds_the_address_of_a_registry_or_a_path_of_a_machine() -> None:
    for page in [*pages(), EXAMPLE]:
        assert not re.search(r"pypi\.org|pythonhosted|files\.python|/work/|/home/|/root/", page.read_text()), page


# Examples


def test_every_python_block_says_how_it_is_run() -> None:
    ways = {"run alone", "run client", "run no", "file", "line"}

    silent = [
        str(block)
        for block in BLOCKS
        if block.language == "python" and (block.how if block.how != "run" else f"run {block.what}") not in ways
    ]

    assert silent == []


def test_every_mark_belongs_to_a_block() -> None:
    for page in pages():
        marks = re.findall(r"^<!-- (?:run|file|line): ", page.read_text(), re.MULTILINE)
        assert len(marks) == sum(1 for block in blocks(page) if block.how), page


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_every_python_block_is_python(block: Block) -> None:
    compile(block.text, str(block.page), "exec")


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if (block.how, block.what) == ("run", "alone")], ids=str
)
def test_a_block_that_needs_no_server_runs_and_prints_what_it_says(block: Block) -> None:
    ran = subprocess.run([sys.executable, "-c", block.text], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == block.expected


def test_the_ids_in_the_docs_are_those_that_the_code_makes() -> None:
    text = "".join(page.read_text() for page in pages())
    keys = [
        ("accounts.transfer", "order-42"),
        ("users.create", "ada"),
        ("users.create", "bob"),
        ("accounts.open", "ada-euros"),
        ("accounts.open", "bob-euros"),
        ("accounts.transfer", "rent"),
    ]

    assert [key for key in keys if str(derive_id(*key)) not in text] == []


# Commands


def shell_commands(page: Path) -> Iterator[list[str]]:
    """Every call of `trivet` or `make` in the page's shell blocks, as words."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                yield from (words for words in calls(line) if words[0] in {"trivet", "make"})


def calls(line: str) -> Iterator[list[str]]:
    """The commands of one line of shell."""
    lexer = shlex.shlex(re.sub(r'"\$\((.*?)\)"', r"; \1 ;", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for is_operator, words in groupby(lexer, lambda word: set(word) <= set("&|;()<>")):
        if not is_operator:
            yield list(words)


def unknown(command: list[str]) -> str | None:
    """What in this command does not exist, if anything."""
    program, *words = command
    if program == "make":
        return unknown_target([word for word in words if "=" not in word])
    known = commands()
    name = next((name for name in longest(["trivet", *words]) if name in known), None)
    if name is None:
        return " ".join(command)
    taken = {option for one in known[name].params for option in (*one.opts, *one.secondary_opts)}
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    return ", ".join(sorted(options - taken - {"--help"})) or None


def longest(words: list[str]) -> list[str]:
    return [" ".join(words[:count]) for count in (3, 2)]


def unknown_target(targets: list[str]) -> str | None:
    known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return ", ".join(target for target in targets if target not in known) or None


@pytest.mark.parametrize("page", pages(), ids=ids(pages()))
def test_every_command_in_a_shell_block_exists_with_its_options(page: Path) -> None:
    assert [problem for command in shell_commands(page) if (problem := unknown(command))] == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("trivet fly", "trivet fly"),
        ("trivet dev fly", "trivet dev fly"),
        ("trivet worker --speed 3", "--speed"),
        ("make coffee", "coffee"),
        ("trivet dev start --folder x", None),
        ("trivet enqueue users.create '{}' --key a", None),
        ("make test TESTS=tests/unit", None),
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str, problem: str | None) -> None:
    assert unknown(shlex.split(command)) == problem


def test_commands_are_found_in_shell_blocks() -> None:
    found = {" ".join(words) for words in shell_commands(ROOT / "docs" / "tutorial" / "first-job.md")}

    assert {"make demo", "trivet dev start", "trivet dev env", "trivet migrate", "trivet worker"} <= found


# Settings


def test_the_example_of_the_environment_has_every_setting_in_order() -> None:
    names = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]

    meanings = read_example(EXAMPLE.read_text())

    assert list(meanings) == names
    assert all(meanings.values())


def test_the_example_of_the_environment_has_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {"postgres_url": "postgresql://h/d", "mongo_url": "mongodb://h", "redis_url": "redis://h"}
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
    given = re.findall(r"^#(TRIVET_\w+=.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert [line for line in given if "_URL=" in line and not line.endswith("=")] == []
    file = tmp_path / ".env"
    file.write_text("\n".join(line for line in given if "_URL=" not in line))

    from_the_file = Settings(_env_file=file, **urls)  # type: ignore[arg-type]  # pydantic makes secrets of them

    assert from_the_file == Settings(_env_file=None, **urls)  # type: ignore[arg-type]  # as above
    assert from_the_file.model_fields_set == set(Settings.model_fields)


def test_a_setting_that_is_said_to_be_unused_is_unused_and_no_other() -> None:
    code = [ROOT / "celeryconfig.py", *ROOT.glob("worker/**/*.py"), *ROOT.glob("tasks/**/*.py")]
    read = {
        node.attr
        for path in code
        if path.name != "settings.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and "settings" in ast.unparse(node.value).lower()
    }
    read |= {"env"}  # read by `worker.settings` itself
    unread = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields if name not in read}

    said = {name for name, text in read_example(EXAMPLE.read_text()).items() if "Not used yet" in text}

    assert said == unread


# States


def diagrams() -> list[str]:
    return [block.text for block in blocks(STATES) if block.language == "text"]


def tables() -> list[list[list[str]]]:
    """The tables of the page, as rows of cells without their head."""
    found = re.findall(r"(?:^\|.*\|$\n)+", STATES.read_text(), re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in one.splitlines()[2:]] for one in found]


def test_the_states_of_a_job_are_the_outcomes() -> None:
    diagram, _ = diagrams()
    job, _ = tables()

    assert {row[0].strip("`"): row[1] == "yes" for row in job} == {one.value: one.ended for one in Outcome}
    assert set(re.findall(r"[a-z]+", diagram)) & {one.value for one in Outcome} == {one.value for one in Outcome}


def test_the_life_of_an_outbox_row_is_what_the_outbox_can_do() -> None:
    _, diagram = diagrams()
    _, life = tables()
    writers = {
        name
        for module in (outbox, due)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if re.search(r"(INSERT INTO|UPDATE|DELETE FROM) trivet\.outbox", inspect.getsource(function))
    }

    assert {row[3].strip("`") for row in life} == writers
    assert [row[0] for row in life] == [row[0] for row in life if row[0] in diagram]
    assert {"due_at", "parked_at"} <= {column.name for column in outbox.outbox.columns}


def test_what_marks_a_state_of_an_outbox_row_is_what_its_writer_sets() -> None:
    _, life = tables()
    for state, due_at, parked_at, writer, _ in life:
        name = writer.strip("`")
        source = inspect.getsource(getattr(outbox, name, None) or getattr(due, name))
        assert (due_at == "set") == ("due_at =" in source), state
        assert (parked_at == "set") == ("parked_at =" in source), state


def test_the_schedule_that_is_shown_has_every_entry() -> None:
    text = (ROOT / "docs/how-to/schedule-jobs.md").read_text()
    shown = re.findall(r"^(maintenance\.\w+) .* in \d+\w ", text, re.MULTILINE)

    assert shown == sorted(read_entries(declared()))
