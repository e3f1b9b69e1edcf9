"""What is true of a post wherever it is written: with its author, later, or not any more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID, uuid5

from pydantic import Field
from sqlalchemy import delete, select

from tasks.model import Post, User
from tasks.model.projections import Projection, project
from worker import Command, Document, Result, UnitOfWork

Title = Annotated[str, Field(min_length=1, max_length=200, examples=["Engines"])]
Content = Annotated[str, Field(max_length=50_000, examples=["They weave patterns."])]


class NewPost(Command):
    """A post as its author writes it."""

    title: Title
    content: Content = ""
    published: bool = False


class PostDocument(Document, collection="posts", indexes=("author_id",)):
    """The projection of a post's row."""

    author_id: UUID
    title: str
    content: str
    published: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, post: Post) -> Self:
        """The post as it is now."""
        return cls(**_shown(cls.model_fields, post))


project(
    Projection(
        collection=PostDocument.collection,
        rows=select(Post),
        key=Post.id,
        guard=Post,
        content=lambda row: PostDocument.of(row.Post),
    )
)


class PostView(Result):
    """A post as results show it. Its content, which a result may have no room for, is in its document."""

    id: UUID
    author_id: UUID
    title: str
    published: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, post: Post) -> Self:
        """The post as it is now."""
        return cls(**_shown(cls.model_fields, post))


def write(work: UnitOfWork, key: UUID, author: User, new: NewPost) -> PostView:
    """Insert a post under this id, and project it. The author must be in the table, and locked."""
    post = Post(
        id=key,
        author_id=author.id,
        title=new.title,
        content=new.content,
        published=new.published,
        created_at=work.now,
        updated_at=work.now,
    )
    work.session.add(post)
    work.store(PostDocument.of(post))
    return PostView.of(post)


def write_first(work: UnitOfWork, author: User, posts: Sequence[NewPost]) -> list[PostView]:
    """Insert what a new author brings along; the ids are made from the job's own, so that a repeat is the same."""
    if posts:
        work.session.flush()  # a post refers to its author by the id alone, so the author goes first
    return [write(work, uuid5(work.job_id, f"posts/{place}"), author, new) for place, new in enumerate(posts)]


def remove_all(work: UnitOfWork, author: User) -> None:
    """Remove all posts of an author whose row is locked: that keeps new ones out."""
    # Locked first, in the order in which every batch locks: each tombstone is newer than any change.
    theirs = select(Post.id).where(Post.author_id == author.id).order_by(Post.id).with_for_update()
    for key in work.session.scalars(theirs):
        work.remove(PostDocument, key)
    gone = delete(Post).where(Post.author_id == author.id)
    work.session.execute(gone, execution_options={"synchronize_session": False})


def _shown(names: Any, post: Post) -> dict[str, Any]:
    return {name: getattr(post, name) for name in names}
