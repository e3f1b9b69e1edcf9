"""The table of notifications; the lock on its user's row protects a notification."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ForeignKey, delete
from sqlalchemy.orm import Mapped, mapped_column

from tasks.model import Base, User
from worker import UnitOfWork

COLLECTION: Final = "notifications"


class Notification(Base):
    """What one user was told."""

    __tablename__ = "notifications"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id), index=True)
    kind: Mapped[str]
    body: Mapped[str]
    sent_at: Mapped[datetime]
    read_at: Mapped[datetime | None] = mapped_column(default=None)


def remove_notifications(work: UnitOfWork, user: User) -> None:
    """Remove all that this user was told; the lock on the user keeps new ones from coming meanwhile."""
    gone = delete(Notification).where(Notification.user_id == user.id).returning(Notification.id)
    for key in work.session.scalars(gone):
        work.remove_from(COLLECTION, str(key))
