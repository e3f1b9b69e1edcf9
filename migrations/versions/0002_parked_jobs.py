"""An operator replays or drops a parked job."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # A constant default and a null are no rewrite of the table: this takes its lock for a moment only.
    op.add_column(
        "jobs",
        sa.Column(
            "replays",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="how often an operator replayed it",
        ),
        schema="trivet",
    )
    op.add_column(
        "jobs",
        sa.Column(
            "dropped_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when an operator dropped it, parked for good",
        ),
        schema="trivet",
    )


def downgrade() -> None:
    op.drop_column("jobs", "dropped_at", schema="trivet")
    op.drop_column("jobs", "replays", schema="trivet")
