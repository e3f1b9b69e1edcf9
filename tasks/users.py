"""Users: create, change, remove and read them; the document that others read is a projection of the row."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from tasks.authorship import NewPost, PostView, remove_all, write_first
from tasks.model import Account, User
from tasks.model.notifications import remove_notifications
from tasks.model.projections import Projection, project
from tasks.model.sessions import remove_sessions
from tasks.paging import fitting
from worker import Command, Document, NotFound, Rejected, Result, UnitOfWork, job

Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Ada"])]
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def _address(text: str) -> str:
    # Whether it exists only a message to it can tell: this keeps out what certainly is none.
    if not _EMAIL.fullmatch(text):
        raise ValueError("must be an email address, like ada@example.org")
    return text


_IN_SCHEMA: Final = {"format": "email", "pattern": f"^{_EMAIL.pattern}$"}
Email = Annotated[
    str,
    Field(max_length=254, examples=["ada@example.org"], json_schema_extra=_IN_SCHEMA),
    AfterValidator(_address),
]


class EmailTaken(Rejected):
    """Another user has this email address."""

    code = "email_taken"

    def __init__(self) -> None:
        super().__init__("another user has this email address", field="email")


class UserHasAccounts(Rejected):
    """The user still owns an open account."""

    code = "user_has_accounts"


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


project(
    Projection(
        collection=UserDocument.collection,
        rows=select(User).where(User.deleted_at.is_(None)),
        key=User.id,
        guard=User,
        content=lambda row: UserDocument.of(row.User),
    )
)


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
    """Create a user, with the first posts."""

    name: Name
    email: Email
    posts: Annotated[tuple[NewPost, ...], Field(max_length=20)] = ()


class UserCreated(Result):
    """The new user, and the posts that were created with it."""

    user: UserView
    posts: list[PostView]


class UpdateUser(Command):
    """Change a user; what is not given, or null, stays."""

    id: UUID
    name: Name | None = None
    email: Email | None = None
    active: bool | None = None


class OneUser(Result):
    """A user."""

    user: UserView


class DeleteUser(Command):
    """Remove a user, with all that is personal."""

    id: UUID


class UserDeleted(Result):
    """The user that is gone; `anonymised`: its row stays, without anything personal, for its closed accounts."""

    id: UUID
    anonymised: bool


class GetUser(Command):
    """Read one user, through the cache."""

    id: UUID


class ListUsers(Command):
    """Read a page of users, the newest first or by name; `active` picks those that are, or are not."""

    active: bool | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    skip: Annotated[int, Field(ge=0, le=2**31)] = 0
    order: Literal["created_at", "name"] = "created_at"


class UserPage(Result):
    """The page, and how many there are in all.

    Where long names would not fit into a result, the page is shorter than `limit`: skip what it has, and go on.
    """

    users: list[UserView]
    total: int


EMAIL_KEY: Final = {"users_email_key": EmailTaken}
"""The index that keeps addresses apart, and what its violation means."""


def itself(command: UpdateUser | DeleteUser) -> Iterator[tuple[type[User], UUID]]:
    """The user that is meant."""
    yield User, command.id


def cache_key(key: UUID) -> str:
    """Where a user is cached."""
    return f"user:{key}"


@job("users.create", subject="users/{job_id}", refuses=EMAIL_KEY, private=["user.email"])
def create(command: CreateUser, work: UnitOfWork) -> UserCreated:
    """Insert the user under the job's own id, with the posts, and project them."""
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
    return UserCreated(user=UserView.of(user), posts=write_first(work, user, command.posts))


@job("users.update", subject="users/{id}", locks=itself, refuses=EMAIL_KEY, private=["user.email"])
def update(command: UpdateUser, work: UnitOfWork) -> OneUser:
    """Change the row, project it, and drop the cached copy."""
    user = work.get(User, command.id)
    user.refuse_deleted()
    for name, value in command.model_dump(exclude={"id"}, exclude_none=True).items():
        setattr(user, name, value)
    user.updated_at = work.now
    work.store(UserDocument.of(user))
    work.forget(cache_key(user.id))
    return OneUser(user=UserView.of(user))


@job("users.delete", subject="users/{id}", locks=itself)
def delete(command: DeleteUser, work: UnitOfWork) -> UserDeleted:
    """Remove the posts and the row, or what is personal in it; its lock keeps new posts and accounts out."""
    user = work.get(User, command.id)
    user.refuse_deleted()
    closed = work.session.scalars(select(Account.closed_at.is_not(None)).where(Account.owner_id == user.id)).all()
    if not all(closed):
        raise UserHasAccounts(f"user {user.id} owns {closed.count(False)} open accounts: close them first")
    remove_all(work, user)
    remove_sessions(work, user)
    remove_notifications(work, user)
    if closed:
        user.anonymise(work.now)
    else:
        work.session.delete(user)
    work.remove(UserDocument, user.id)
    work.forget(cache_key(user.id))
    return UserDeleted(id=user.id, anonymised=bool(closed))


@job("users.get", broadcast=False)
def get(command: GetUser, work: UnitOfWork) -> OneUser:
    """The user as it was committed last; nothing of it is in the event."""

    def load(session: Session) -> dict[str, Any] | None:
        user = session.get(User, command.id)
        return None if user is None or user.deleted_at else UserView.of(user).model_dump(mode="json")

    found = work.cached(cache_key(command.id), load)
    if found is None:
        raise NotFound(User, command.id)
    return OneUser(user=UserView.model_validate(found, strict=False))


@job("users.list", broadcast=False)
def list_users(command: ListUsers, work: UnitOfWork) -> UserPage:
    """A page of users, in two statements; nothing of them is in the event."""
    wanted = [User.deleted_at.is_(None)]
    if command.active is not None:
        wanted.append(User.active.is_(command.active))
    page = select(User).where(*wanted).order_by(*_order(command)).offset(command.skip).limit(command.limit)
    users = list(fitting(map(UserView.of, work.session.scalars(page))))
    total = work.session.scalar(select(func.count()).select_from(User).where(*wanted))
    return UserPage(users=users, total=total or 0)


def _order(command: ListUsers) -> tuple[ColumnElement[Any], ...]:
    if command.order == "name":
        return User.name.asc(), User.id.asc()
    return User.created_at.desc(), User.id.desc()
