"""Writes the reference pages and `asyncapi.json` from the code: `python -m docs.generate`; `--check` only looks.

It reads no environment and asks no server, so they are the same on every machine.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from docs.asyncapi import document
from docs.pages import commands, errors, events, settings, tables, tasks

FOLDER: Final = Path(__file__).parent

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings.page,
    "commands.md": commands.page,
    "tasks.md": tasks.page,
    "errors.md": errors.page,
    "events.md": events.page,
    "tables.md": tables.page,
}

DOCUMENTS: Final[Mapping[str, Callable[[], str]]] = {"asyncapi.json": document.page}

NOTICE: Final = (
    "<!-- Made from the code by docs/generate.py: change that or the code, then run `make docs`. -->\n\n"
)


def rendered() -> dict[str, str]:
    """Every page and document, by its path in the folder of the documentation."""
    pages = {f"reference/{name}": NOTICE + page().rstrip() + "\n" for name, page in PAGES.items()}
    return pages | {name: page() + "\n" for name, page in DOCUMENTS.items()}


def stale(folder: Path = FOLDER) -> list[str]:
    """The paths of the files that are not what the code says, or are missing, or are made no longer.

    Pages without the notice are written by hand, and no concern of this.
    """
    wanted = rendered()
    paths = [*folder.glob("reference/*.md"), *folder.glob("*.json")]
    found = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    there = {name: text for name, text in found.items() if name in wanted or text.startswith(NOTICE)}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def write(folder: Path = FOLDER) -> None:
    """Write every page and document."""
    (folder / "reference").mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (folder / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Write the pages, or say which are stale."""
    if "--check" not in sys.argv[1:]:
        write()
    elif behind := stale():
        sys.exit(f"stale: {', '.join(behind)}; run: make docs")


if __name__ == "__main__":
    main()
