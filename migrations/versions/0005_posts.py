"""Posts, and what they are searched by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

INDEXES = {
    "posts_created_at_idx": ["created_at", "id"],
    "posts_published_idx": ["published", "created_at", "id"],
    "posts_author_id_idx": ["author_id", "created_at", "id"],
    "posts_title_idx": ["title", "id"],
}


def upgrade() -> None:
    # Nothing is removed by cascade: a post leaves a tombstone. So a worker of the version before cannot delete a
    # user who has posts: its job fails, and is tried again.
    op.create_table(
        "posts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "words",
            postgresql.TSVECTOR(),
            sa.Computed("strip(to_tsvector('simple'::regconfig, (title || ' '::text) || content))", persisted=True),
            nullable=False,
            comment="what a search by text looks in",
        ),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("posts_author_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("posts_pkey")),
    )
    for name, columns in INDEXES.items():
        op.create_index(name, "posts", columns)
    op.create_index("posts_words_idx", "posts", ["words"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_table("posts")
