"""`settings.md`: every setting, from `worker.settings` and, for what it means, from `.env.example`."""

from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docs.pages.markdown import code, codes, said, table
from worker.operations.embedded.programs import WHEELS
from worker.secret_files import SUFFIX
from worker.settings import PREFIX, Settings, secret_variables

EXAMPLE: Final = Path(__file__).parents[2] / ".env.example"


def page() -> str:
    """The page."""
    meanings = read_example(EXAMPLE.read_text(encoding="utf-8"))
    rows = [
        (code(name), _kind(field), _default(field), meanings[name])
        for name, field in ((f"{PREFIX}{key.upper()}", field) for key, field in Settings.model_fields.items())
    ]
    embedded = [f"TRIVET_EMBEDDED_{server.upper()}" for server in WHEELS]
    files = [name + SUFFIX for name in secret_variables(Settings)]
    return "\n\n".join([
        "# Settings",
        said(Settings),
        ("The environment is read once, when a process starts. A wrong value stops the start and is named, and its "
        "value is not shown. In development the file `.env` in the current folder is read too; the environment "
        "wins over it. In production it is not read. `.env.example` lists every setting with its default."),
        table(["variable", "takes", "default", "what for"], rows),
        "## Secrets in files",
        (f"{codes(files)} take the path of a file that holds the secret, one line, instead of the secret itself: "
        "what the secrets of a container are. Either of the two may be set, not both. They are read from the "
        "environment, not from `.env`."),
        "## Beside the settings",
        (f"{codes(embedded)} choose the program of an embedded server: `wheel` (the default: the one that was "
        "installed with the extra `embedded`) or `path` (the one on the `PATH`). "
        "See [use your own servers](../how-to/use-own-servers.md)."),
    ])  # fmt: skip


def read_example(text: str) -> dict[str, str]:
    """What the comments of an `.env.example` say about each variable: name → text."""
    found: dict[str, str] = {}
    words: list[str] = []
    for line in text.splitlines():
        if line.startswith(f"#{PREFIX}"):
            found[line[1:].partition("=")[0]] = " ".join(words)
            words = []
        else:
            words = [*words, line.removeprefix("# ")] if line.startswith("# ") else []
    return found


def _kind(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is Literal:
        return " or ".join(map(code, get_args(annotation)))
    words = {SecretStr: "text, secret", str: "text", int: "whole number", float: "number"}[annotation]
    return ", ".join([words, *_limits(field)])


def _limits(field: FieldInfo) -> list[str]:
    limits = []
    for limit in field.metadata:
        match limit:
            case Ge():
                limits.append(f"at least {limit.ge:,}")
            case Gt():
                limits.append(f"above {limit.gt:,}")
            case Le():
                limits.append(f"at most {limit.le:,}")
    return limits


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none: must be set"
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if default == "":
        return "empty"
    return f"{default:,}" if isinstance(default, int | float) else code(default)
