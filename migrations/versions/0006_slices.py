"""Free-form documents, sessions and notifications."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.Text(), nullable=False, comment="<collection>/<id>"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="how often it was changed; 0: never yet"),
        sa.Column("body", sa.Text(), nullable=True, comment="one JSON object as it came; null: it is gone"),
        sa.CheckConstraint("version >= 0", name=op.f("documents_version_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("documents_pkey")),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("notifications_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("notifications_pkey")),
    )
    op.create_index("notifications_user_id_idx", "notifications", ["user_id"])
    op.create_table(
        "users_sessions",
        sa.Column("token_hash", sa.Text(), nullable=False, comment="SHA-256 of the token, in hex"),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("ttl_s", sa.Integer(), nullable=False, comment="how far it slides when it is touched"),
        sa.Column("attributes", sa.Text(), nullable=False, comment="one JSON object"),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="never goes back"),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("users_sessions_user_id_fkey")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("users_sessions_pkey")),
    )
    op.create_index("users_sessions_user_id_idx", "users_sessions", ["user_id"])


def downgrade() -> None:
    op.drop_table("users_sessions")
    op.drop_table("notifications")
    op.drop_table("documents")
