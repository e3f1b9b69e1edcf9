"""Reports; balances in the ledger, of which receipts can be made again; versions above those of MongoDB."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

# Only ever upwards, and in one step, for jobs draw from it meanwhile. The margin: what they draw between the look
# and the leap must not come to lie beyond it.
RAISE = """
CREATE FUNCTION trivet.raise_outbox_id(above bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(29810, 100);
    PERFORM setval('trivet.outbox_id', above + 1000000) FROM trivet.outbox_id WHERE last_value < above;
    RETURN FOUND;
END
$$
"""

RIGHTS = """
DO $$
BEGIN
    REVOKE EXECUTE ON FUNCTION trivet.raise_outbox_id(bigint) FROM PUBLIC;
    IF to_regrole('trivet_worker') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION trivet.raise_outbox_id(bigint) TO trivet_worker;
    END IF;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "reports",
        sa.Column("id", sa.Text(), nullable=False, comment="<name>:<day>"),
        sa.Column("body", sa.Text(), nullable=False, comment="one JSON object"),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("reports_pkey")),
    )
    # May be null: no rewrite of the table. A worker of the version before leaves it null.
    op.add_column(
        "ledger_entries",
        sa.Column("balance", sa.BigInteger(), nullable=True, comment="of the account, after this entry"),
    )
    op.execute(RAISE)
    op.execute(RIGHTS)
    with op.get_context().autocommit_block():
        # By blocks, which costs those who write nothing: entries come in the order of their times.
        op.create_index(
            "ledger_entries_entered_at_idx",
            "ledger_entries",
            ["entered_at"],
            postgresql_using="brin",
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    op.drop_index("ledger_entries_entered_at_idx", "ledger_entries")
    op.execute("DROP FUNCTION trivet.raise_outbox_id(bigint)")
    op.drop_column("ledger_entries", "balance")
    op.drop_table("reports")
