"""Searching posts: two statements whatever is found, neither of which grows with the table without end."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    func,
    join,
    literal,
    literal_column,
    select,
)

from tasks.model import WORDS, Post, User
from tasks.paging import fitting
from worker import Command, Result, UnitOfWork, job

TOTAL_MAX: Final = 1_000
"""How far posts are counted, and skipped: to count a large table takes longer than to read a page of it."""

Text = Annotated[str, Field(min_length=1, max_length=200)]


class Search(Command):
    """Read a page of posts, the newest first or by title, that fit all that is given.

    `author_name_contains` is taken literally, and `text` as words which all occur, in any order; neither has
    wildcards or operators.
    """

    published: bool | None = None
    author_name_contains: Text | None = None
    text: Text | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    skip: Annotated[int, Field(ge=0, le=TOTAL_MAX)] = 0
    order: Literal["created_at", "title"] = "created_at"


class Author(Result):
    """Who wrote a post."""

    id: UUID
    name: str


class FoundPost(Result):
    """A post that was found; its content is in its document."""

    id: UUID
    author: Author
    title: str
    published: bool
    created_at: datetime
    updated_at: datetime


class PostPage(Result):
    """The page, and how many there are in all, counted to 1,000.

    Where long titles would not fit into a result, the page is shorter than `limit`: skip what it has, and go on.
    """

    posts: list[FoundPost]
    total: int


@job("posts.search", broadcast=False)
def search(command: Search, work: UnitOfWork) -> PostPage:
    """Find posts with their authors; nothing of them is in the event."""
    alone = planned_alone(work.job_id)
    total: int = work.session.execute(total_of(command).where(alone)).scalar_one()
    found = work.session.execute(page(command, total).where(alone))
    return PostPage(posts=list(fitting(map(_view, found))), total=total)


def planned_alone(key: UUID) -> ColumnElement[bool]:
    """A condition that always holds, and makes a statement unlike all others, so that it is not prepared.

    A prepared one soon has one plan for whatever it is given, which takes every word to be rare: for a frequent one
    that takes 200 ms instead of one.
    """
    return bindparam(None, str(key), literal_execute=True).is_not(None)


def page(command: Search, total: int) -> Select[Any]:
    """The statement that reads a page: the posts first, then authors for no more than those.

    Few posts are collected and then ordered. Only where there are many is it left to PostgreSQL to walk along the
    order until the page is full: if it does so for a word that it wrongly takes to be frequent, it reads the table.
    """
    ours = select(*_COLUMNS).where(*_wanted(command))
    of: Any = Post
    if total < TOTAL_MAX:
        few = ours.cte("few").prefix_with("MATERIALIZED")
        ours, of = select(few), few.c
    found = ours.order_by(*_order(command, of)).offset(command.skip).limit(command.limit).subquery()
    authors = join(found, User, User.id == found.c.author_id)
    return select(found, User.name.label("author")).select_from(authors).order_by(*_order(command, found.c))


def total_of(command: Search) -> Select[Any]:
    """The statement that counts."""
    each = select(literal(1)).select_from(Post).where(*_wanted(command)).limit(TOTAL_MAX)
    return select(func.count()).select_from(each.subquery())


_COLUMNS: Final = (Post.id, Post.author_id, Post.title, Post.published, Post.created_at, Post.updated_at)


def _wanted(command: Search) -> Iterator[ColumnElement[bool]]:
    if command.published is not None:
        yield Post.published.is_(command.published)
    if command.author_name_contains is not None:
        named = User.name.icontains(command.author_name_contains, autoescape=True)
        yield Post.author_id.in_(select(User.id).where(named))
    if command.text is not None:
        words = func.plainto_tsquery(literal_column(f"'{WORDS}'::regconfig"), command.text)
        yield Post.words.bool_op("@@")(words)


def _order(command: Search, of: Any) -> tuple[ColumnElement[Any], ...]:
    if command.order == "title":
        return of.title.asc(), of.id.asc()
    return of.created_at.desc(), of.id.desc()


def _view(row: Row[Any]) -> FoundPost:
    shown = row._asdict()
    author = Author(id=shown.pop("author_id"), name=shown.pop("author"))
    return FoundPost(author=author, **shown)
