"""Who may import what, beyond what import-linter knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KNOW_CELERY = (
    "celeryconfig.py",
    "worker/app.py",
    "worker/intake/",
    "worker/execution/job.py",
    "worker/producer.py",
    "worker/operations/schedule.py",
    "worker/operations/demo/sending.py",  # the demo sends as a producer that has never heard of us
)


def imported(source: str) -> Iterator[str]:
    """Every module that this source names in an import, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level):
                yield "." * level + (module or "")


def imports_celery(source: str) -> bool:
    return any(name.partition(".")[0] in {"celery", "kombu"} for name in imported(source))


def test_celerys_configuration_is_plain_data() -> None:
    source = (ROOT / "celeryconfig.py").read_text()

    assert set(imported(source)) == {"worker.settings"}


def test_celery_is_known_in_few_places() -> None:
    files = [ROOT / "celeryconfig.py", *ROOT.glob("worker/**/*.py"), *ROOT.glob("tasks/**/*.py")]
    assert len(files) > 20

    know = {path.relative_to(ROOT).as_posix() for path in files if imports_celery(path.read_text())}

    assert {path for path in know if not path.startswith(KNOW_CELERY)} == set()
    assert "worker/app.py" in know


@pytest.mark.parametrize(
    "source",
    [
        "import celery",
        "import os, kombu.transport",
        "from celery.worker import strategy",
        "def late():\n    from kombu import Queue",
    ],
)
def test_an_import_is_seen_wherever_it_stands(source: str) -> None:
    assert imports_celery(source)


def test_a_name_that_only_looks_like_celery_is_none() -> None:
    assert not imports_celery("import celeryconfig\nfrom worker import celery_facts\nname = 'celery'")
