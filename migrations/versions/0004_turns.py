"""Events that Redis lost can be appended again: what they need is kept, and turns are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Columns that may be null are no rewrite of the table. A worker of the version before leaves them null, and
    # counts no turns: what it publishes is not appended again.
    op.add_column(
        "jobs",
        sa.Column("sequence", sa.BigInteger(), nullable=True, comment="of its completion event"),
        schema="trivet",
    )
    op.add_column(
        "jobs",
        sa.Column("traceparent", sa.Text(), nullable=True, comment="of its completion event"),
        schema="trivet",
    )
    op.create_table(
        "shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("shards_pkey")),
        schema="trivet",
    )
    op.execute("INSERT INTO trivet.shards (shard) SELECT generate_series(0, 63)")


def downgrade() -> None:
    op.drop_table("shards", schema="trivet")
    op.drop_column("jobs", "traceparent", schema="trivet")
    op.drop_column("jobs", "sequence", schema="trivet")
