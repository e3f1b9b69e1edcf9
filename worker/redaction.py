"""Secrets taken out of text by their form: passwords in URLs, and what follows the name of a secret."""

import re
from typing import Final

HIDDEN: Final = "***"

_SECRET_NAME: Final = r"password|passwd|secret|token|authorization"  # noqa: S105 - the names of secrets, not one
SECRET_FIELD: Final = re.compile(_SECRET_NAME, re.IGNORECASE)
_SECRETS_IN_TEXT: Final = re.compile(
    rf"""(?P<url>://[^\s:/@"']*:)[^\s/?\#"']+(?=@)        # scheme://user:PASSWORD@host
       | (?P<name>(?:{_SECRET_NAME})[\\"']*\s*[=:]\s*[\\"']*(?:(?:bearer|basic)\s+)?)[^\s\\"'&,;)}}\]]+""",
    re.IGNORECASE | re.VERBOSE,
)


def redact(text: str) -> str:
    """Return `text` without passwords in URLs and without what follows the name of a secret."""
    return _SECRETS_IN_TEXT.sub(lambda found: f"{found['url'] or found['name']}{HIDDEN}", text)
