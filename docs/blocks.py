"""The code blocks of the documentation, and how each of them is proved.

A Markdown comment on the line above a block says it:

- `<!-- run: alone -->`: Python that needs no server.
- `<!-- run: client -->`: Python that talks to a running worker; the blocks of a page make one program, which is run
  where a command follows, and at the end of the page.
- `<!-- run: shell -->`: commands, run in order with the page's other blocks.
- `<!-- run: background -->`: a command that stays up, until the next such block or the page's end.
- `<!-- file: PATH -->`: the content of a file; a file below `tests/` is then run by pytest.
- `<!-- line: PATH -->`: one line, which takes the place of the file's line with the same first word.
- `<!-- run: no -->`: shown only, because what it shows is not run here.

Expected output stands in Python comments: `# → succeeded` must be in what the program prints.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

_BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<how>run|file|line): (?P<what>[^\s>]+) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_EXPECTED: Final = re.compile(r"# → (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block; `how` is run, file or line, and `what` is what follows the colon."""

    page: Path
    language: str
    text: str
    how: str
    what: str

    @property
    def expected(self) -> list[str]:
        """What the program must print, somewhere."""
        return _EXPECTED.findall(self.text)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0]}"


def pages() -> list[Path]:
    """Every page of the documentation."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(page, found["language"], found["text"], found["how"] or "", found["what"] or "")
