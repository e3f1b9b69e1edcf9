"""Notifications: tell a user something, now if somebody listens and for later, and mark what was read."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import select, update

from tasks.model import User
from tasks.model.notifications import COLLECTION, Notification
from tasks.model.projections import Projection, project
from worker import Command, Document, RateLimit, Result, UnitOfWork, job

Kind = Annotated[str, Field(pattern="^[a-z][a-z0-9_.-]{0,63}$", examples=["greeting"])]
Body = Annotated[str, Field(min_length=1, max_length=4_000, examples=["Hello."])]


class NotificationDocument(Document, collection=COLLECTION, indexes=("user_id",)):
    """What one user was told, and when it was read."""

    user_id: UUID
    kind: str
    body: str
    sent_at: datetime
    read_at: datetime | None

    @classmethod
    def of(cls, row: Notification) -> Self:
        """The notification as it is now."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


project(
    Projection(
        collection=COLLECTION,
        rows=select(Notification),
        key=Notification.id,
        guard=User,
        guarded_by=Notification.user_id,
        written=Notification,
        content=lambda row: NotificationDocument.of(row.Notification),
    )
)


class LiveNotification(BaseModel):
    """What whoever listens is told; the same is in the document."""

    id: UUID
    kind: str
    body: str
    sent_at: datetime


class SendNotification(Command):
    """Tell a user something."""

    user_id: UUID
    kind: Kind
    body: Body


class NotificationSent(Result):
    """The new notification; what it says is in no event."""

    notification: UUID
    user_id: UUID


class MarkRead(Command):
    """Mark notifications of a user as read."""

    user_id: UUID
    ids: Annotated[list[UUID], Field(min_length=1, max_length=500)]


class MarkedRead(Result):
    """Those that are read now and were not before. What is not there, or another user's, is passed over."""

    user_id: UUID
    read: list[UUID]


def the_user(command: SendNotification | MarkRead) -> Iterator[tuple[type[User], UUID]]:
    """The user who is told: the lock on it protects its notifications."""
    yield User, command.user_id


@job(
    "notifications.send",
    subject="users/{user_id}",
    locks=the_user,
    limit=RateLimit(100, 900, key="notifications/{user_id}"),
    publishes={"notifications:{user_id}": LiveNotification},
)
def send(command: SendNotification, work: UnitOfWork) -> NotificationSent:
    """Insert the row under the job's own id, project it, and tell whoever listens on `notifications:{user_id}`."""
    user = work.get(User, command.user_id)
    user.refuse_deleted()
    told = Notification(
        id=work.job_id, user_id=user.id, kind=command.kind, body=command.body, sent_at=work.now, read_at=None
    )
    work.session.add(told)
    work.store(NotificationDocument.of(told))
    live = LiveNotification(id=told.id, kind=told.kind, body=told.body, sent_at=told.sent_at)
    work.publish(f"notifications:{user.id}", live)
    return NotificationSent(notification=told.id, user_id=user.id)


@job("notifications.mark_read", subject="users/{user_id}", locks=the_user)
def mark_read(command: MarkRead, work: UnitOfWork) -> MarkedRead:
    """Change the rows in one statement, and project those that changed."""
    user = work.get(User, command.user_id)
    user.refuse_deleted()
    unread = (Notification.user_id == user.id) & Notification.id.in_(command.ids) & Notification.read_at.is_(None)
    changed = update(Notification).where(unread).values(read_at=work.now).returning(Notification)
    rows = sorted(work.session.scalars(changed), key=lambda row: row.id)
    for row in rows:
        work.store(NotificationDocument.of(row))
    return MarkedRead(user_id=user.id, read=[row.id for row in rows])
