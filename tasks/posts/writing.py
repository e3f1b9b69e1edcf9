"""Writing posts: each has its document, a projection of its row."""

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import delete as remove

from tasks.authorship import Content, NewPost, PostDocument, PostView, Title, write
from tasks.model import Post, User
from worker import Command, NotFound, Result, UnitOfWork, job


class Create(NewPost):
    """Write a post in the name of a user."""

    author_id: UUID


class Update(Command):
    """Change a post; what is not given, or null, stays."""

    id: UUID
    title: Title | None = None
    content: Content | None = None
    published: bool | None = None


class Publish(Command):
    """Publish a post; one that is published stays so."""

    id: UUID


class Delete(Command):
    """Remove a post."""

    id: UUID


class OnePost(Result):
    """The post, as the job leaves it."""

    post: PostView


class PostDeleted(Result):
    """The post as it was when it went."""

    post: PostView


def its_author(command: Create) -> Iterator[tuple[type[User], UUID]]:
    """The user who writes: locked, so that nobody can remove it meanwhile."""
    yield User, command.author_id


def itself(command: Update | Publish | Delete) -> Iterator[tuple[type[Post], UUID]]:
    """The post that is meant."""
    yield Post, command.id


@job("posts.create", subject="posts/{job_id}", locks=its_author)
def create(command: Create, work: UnitOfWork) -> OnePost:
    """Insert the post under the job's own id, and project it."""
    author = work.get(User, command.author_id)
    author.refuse_deleted()
    return OnePost(post=write(work, work.job_id, author, command))


@job("posts.update", subject="posts/{id}", locks=itself)
def update(command: Update, work: UnitOfWork) -> OnePost:
    """Change the row, and project it."""
    post = work.get(Post, command.id)
    for name, value in command.model_dump(exclude={"id"}, exclude_none=True).items():
        setattr(post, name, value)
    return _changed(post, work)


@job("posts.publish", subject="posts/{id}", locks=itself)
def publish(command: Publish, work: UnitOfWork) -> OnePost:
    """Let the post be seen."""
    post = work.get(Post, command.id)
    if post.published:
        return OnePost(post=PostView.of(post))
    post.published = True
    return _changed(post, work)


@job("posts.delete", subject="posts/{id}", locks=itself)
def delete(command: Delete, work: UnitOfWork) -> PostDeleted:
    """Remove the row; the document becomes a tombstone."""
    post = work.get(Post, command.id)
    gone = PostDeleted(post=PostView.of(post))
    if work.session.scalar(remove(Post).where(Post.id == command.id).returning(Post.id)) is None:
        raise NotFound(Post, command.id)  # another job of this batch has removed it
    work.remove(PostDocument, command.id)
    return gone


def _changed(post: Post, work: UnitOfWork) -> OnePost:
    post.updated_at = work.now
    work.store(PostDocument.of(post))
    return OnePost(post=PostView.of(post))
