"""How far a pass over the documents has come."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("next_job", sa.Uuid(), nullable=False, comment="the job that goes on with it"),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "step", sa.Text(), nullable=False, comment="what it was doing: listing documents, or comparing rows"
        ),
        sa.Column("collection", sa.Text(), nullable=False, comment="the collection that it had come to"),
        sa.Column(
            "place",
            sa.LargeBinary(),
            nullable=False,
            comment="the key that it looked at last, as the step keeps it",
        ),
        sa.Column(
            "found", sa.Text(), nullable=False, comment="what it has found so far: the task's result, as JSON"
        ),
        sa.PrimaryKeyConstraint("next_job", name=op.f("reconciliations_pkey")),
    )


def downgrade() -> None:
    op.drop_table("reconciliations")
