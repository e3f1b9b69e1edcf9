"""The table of sessions: PostgreSQL decides about a session, Redis serves it."""

import json
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ForeignKey, delete
from sqlalchemy.orm import Mapped, mapped_column

from tasks.model import Base, User
from worker import NotFound, UnitOfWork


class Session(Base):
    """A user's session. The row of one that is over stays, so that none comes back."""

    # Rows are locked by the names of their tables. A user before its sessions: so does the one who removes a user.
    __tablename__ = "users_sessions"

    token_hash: Mapped[str] = mapped_column(primary_key=True, comment="SHA-256 of the token, in hex")
    user_id: Mapped[UUID] = mapped_column(ForeignKey(User.id), index=True)
    ttl_s: Mapped[int] = mapped_column(comment="how far it slides when it is touched")
    # As text: a row without containers is undone in memory, when a job is rejected.
    attributes: Mapped[str] = mapped_column(comment="one JSON object")
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(comment="never goes back")
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)

    def refuse_over(self, now: datetime) -> None:
        """Raise `NotFound` if it was revoked, or has expired."""
        if self.revoked_at is not None or self.expires_at <= now:
            raise NotFound(Session, self.token_hash)

    def refuse_other(self, user_id: UUID | None) -> None:
        """Raise `NotFound` if it is another user's; None: nobody in particular is meant."""
        if user_id not in {None, self.user_id}:
            raise NotFound(Session, self.token_hash)

    def slide(self, now: datetime, ttl_s: int) -> None:
        """Live for so many seconds from now on, or for longer if that was said before."""
        self.ttl_s = ttl_s
        self.expires_at = max(self.expires_at, now + timedelta(seconds=ttl_s))

    def serve(self, work: UnitOfWork) -> None:
        """Let Redis have it as it is now."""
        shown = {
            "user_id": self.user_id,
            "attributes": json.loads(self.attributes),
            "opened_at": self.opened_at,
            "expires_at": self.expires_at,
        }
        work.keep(served_at(self.token_hash), shown, until=self.expires_at)


def served_at(token_hash: str) -> str:
    """Where Redis serves a session."""
    return f"session:{token_hash}"


def remove_sessions(work: UnitOfWork, user: User) -> None:
    """Remove all sessions of a user who goes; the lock on the user keeps new ones from being opened meanwhile."""
    gone = delete(Session).where(Session.user_id == user.id).returning(Session.token_hash, Session.expires_at)
    for token_hash, expires_at in work.session.execute(gone):
        work.end(served_at(token_hash), until=expires_at)
