"""Sessions: open, prolong and end them. PostgreSQL decides, Redis serves; the worker never sees a token."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import update

from tasks.model import User
from tasks.model.rows import found_or_made
from tasks.model.sessions import Session, served_at
from worker import Command, Result, Through, UnitOfWork, job

TokenHash = Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=["5e88" * 16])]
Ttl = Annotated[int, Field(ge=1, le=365 * 24 * 3600, examples=[3600])]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Attribute = Annotated[str, Field(max_length=1_000)] | int | float | bool | None


class OpenSession(Command):
    """Open a session under the SHA-256 of its token, for `ttl_s` seconds; one that is open is prolonged."""

    token_hash: TokenHash
    user_id: UUID
    ttl_s: Ttl
    attributes: Annotated[dict[Name, Attribute], Field(max_length=32)] = {}  # noqa: RUF012 - pydantic copies it


class TouchSession(Command):
    """Prolong a session, by `ttl_s` seconds from now or as it was opened; `user_id` if it must be this user's."""

    token_hash: TokenHash
    user_id: UUID | None = None
    ttl_s: Ttl | None = None


class RevokeSession(Command):
    """End a session for good. With `user_id` also one whose opening is still on its way."""

    token_hash: TokenHash
    user_id: UUID | None = None


class RevokeSessions(Command):
    """End all sessions of a user for good."""

    user_id: UUID


class LiveSession(Result):
    """The session, and until when it lives if nobody touches it."""

    token_hash: str
    user_id: UUID
    expires_at: datetime


class SessionRevoked(Result):
    """The session that is over."""

    token_hash: str
    user_id: UUID


class SessionsRevoked(Result):
    """How many sessions of the user have been ended."""

    user_id: UUID
    revoked: int


Locks = Iterator[tuple[type[User | Session], UUID | str] | Through]


def it_and_its_user(command: OpenSession | TouchSession | RevokeSession) -> Locks:
    """The session, and the user who has it: its sessions end when it is removed."""
    yield Session, command.token_hash
    if command.user_id is None:
        yield Through(Session, command.token_hash, "user_id", User)
    else:
        yield User, command.user_id


def the_user(command: RevokeSessions) -> Iterator[tuple[type[User], UUID]]:
    """The user: nobody opens or touches a session of it meanwhile."""
    yield User, command.user_id


@job("sessions.open", subject="users/{user_id}", locks=it_and_its_user)
def open_session(command: OpenSession, work: UnitOfWork) -> LiveSession:
    """Make the row, or prolong it. A token opens one session: one that is over does not open again."""
    user = work.get(User, command.user_id)
    user.refuse_deleted()
    session = _session(command, user, work)
    session.refuse_over(work.now)
    session.attributes = json.dumps(command.attributes, ensure_ascii=False)
    return _prolonged(session, command.ttl_s, work)


@job("sessions.touch", subject="users/{user_id}", locks=it_and_its_user)
def touch(command: TouchSession, work: UnitOfWork) -> LiveSession:
    """Let it slide. It never becomes shorter: what is on its way to Redis could outlive it."""
    session = work.get(Session, command.token_hash)
    session.refuse_other(command.user_id)
    session.refuse_over(work.now)
    return _prolonged(session, command.ttl_s or session.ttl_s, work)


@job("sessions.revoke", subject="users/{user_id}", locks=it_and_its_user)
def revoke(command: RevokeSession, work: UnitOfWork) -> SessionRevoked:
    """Mark the row, and take the session from Redis. It is no error that it is over already."""
    if command.user_id is None:
        session = work.get(Session, command.token_hash)
    else:
        user = work.get(User, command.user_id)
        user.refuse_deleted()
        session = _session(command, user, work)
    session.revoked_at = session.revoked_at or work.now
    work.end(served_at(session.token_hash), until=session.expires_at)
    return SessionRevoked(token_hash=session.token_hash, user_id=session.user_id)


@job("sessions.revoke_all", subject="users/{user_id}", locks=the_user)
def revoke_all(command: RevokeSessions, work: UnitOfWork) -> SessionsRevoked:
    """Mark the rows in one statement, and take the sessions from Redis."""
    user = work.get(User, command.user_id)
    user.refuse_deleted()
    live = (Session.user_id == user.id) & Session.revoked_at.is_(None) & (Session.expires_at > work.now)
    ended = update(Session).where(live).values(revoked_at=work.now)
    rows = work.session.execute(ended.returning(Session.token_hash, Session.expires_at)).all()
    for token_hash, expires_at in rows:
        work.end(served_at(token_hash), until=expires_at)
    return SessionsRevoked(user_id=user.id, revoked=len(rows))


def _session(command: OpenSession | RevokeSession, user: User, work: UnitOfWork) -> Session:
    """The row for this token, if it is this user's; where there is none, it begins here and now."""
    ttl_s = command.ttl_s if isinstance(command, OpenSession) else 0
    session = found_or_made(
        work,
        Session,
        command.token_hash,
        user_id=user.id,
        ttl_s=ttl_s,
        attributes="{}",
        opened_at=work.now,
        expires_at=work.now + timedelta(seconds=ttl_s),
    )
    session.refuse_other(user.id)
    return session


def _prolonged(session: Session, ttl_s: int, work: UnitOfWork) -> LiveSession:
    session.slide(work.now, ttl_s)
    session.serve(work)
    return LiveSession(token_hash=session.token_hash, user_id=session.user_id, expires_at=session.expires_at)
