"""Users: create them; the document that others read is a projection of the row."""

import re
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, Field

from tasks.model import User
from worker import Command, Document, Rejected, Result, UnitOfWork, job

Name = Annotated[str, Field(min_length=1, max_length=200)]
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def _address(text: str) -> str:
    # Whether it exists only a message to it can tell: this keeps out what certainly is none.
    if not _EMAIL.fullmatch(text):
        raise ValueError("must be an email address, like ada@example.org")
    return text


Email = Annotated[str, Field(max_length=254), AfterValidator(_address)]


class EmailTaken(Rejected):
    """Another user has this email address."""

    code = "email_taken"

    def __init__(self) -> None:
        super().__init__("another user has this email address", field="email")


def _shown(user: User) -> dict[str, Any]:
    """What others may see of a user, in documents and results alike."""
    return {name: getattr(user, name) for name in ("id", "name", "email", "active", "created_at")}


class UserDocument(Document, collection="users"):
    """The projection of a user's row."""

    name: str
    email: str
    active: bool
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> Self:
        """The user as it is now."""
        return cls(**_shown(user))


class UserView(Result):
    """A user as results show it."""

    id: UUID
    name: str
    email: str
    active: bool
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> Self:
        """The user as it is now."""
        return cls(**_shown(user))


class CreateUser(Command):
    """Create a user."""

    name: Name
    email: Email


class UserCreated(Result):
    """The new user, and the posts that were created with it."""

    user: UserView
    posts: list[UUID]


@job(
    "users.create",
    subject="users/{job_id}",
    refuses={"users_email_key": EmailTaken},
    private=["user.email"],
)
def create(command: CreateUser, work: UnitOfWork) -> UserCreated:
    """Insert the user under the job's own id, and project it."""
    user = User(
        id=work.job_id,
        name=command.name,
        email=command.email,
        active=True,
        created_at=work.now,
        updated_at=work.now,
    )
    work.session.add(user)
    work.store(UserDocument.of(user))
    return UserCreated(user=UserView.of(user), posts=[])
