"""How far each entry of the schedule has come."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "settled_to",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="ticks up to this moment have been taken or let go",
        ),
        sa.Column("last_tick", sa.DateTime(timezone=True), nullable=True, comment="the last one that was taken"),
        sa.Column("last_job", sa.Uuid(), nullable=True, comment="its job"),
        sa.PrimaryKeyConstraint("name", name=op.f("schedules_pkey")),
        schema="trivet",
    )


def downgrade() -> None:
    op.drop_table("schedules", schema="trivet")
