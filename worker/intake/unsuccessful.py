"""What Celery is told, as an exception, of a job that did not succeed.

Celery logs such an exception and sends it in events, so its text is the code alone: the message may hold what the
payload held. Both are in `args`.
"""

from worker.errors import Rejected, TrivetError


class JobRejected(Rejected):
    """A job was rejected; Celery shows its task as failed, with this as the reason."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)
        self.args = (code, message)

    def __str__(self) -> str:
        return self.code

    def __repr__(self) -> str:
        return describe(self)


class JobParked(TrivetError):
    """A job was given up; Celery shows its task as failed, with this as the reason."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(code, message)

    def __str__(self) -> str:
        return self.code

    def __repr__(self) -> str:
        return describe(self)


def describe(error: JobRejected | JobParked) -> str:
    """Its kind and its code."""
    return f"{type(error).__name__}({error.code!r})"
