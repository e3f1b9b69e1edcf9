"""Holds; a ledger whose entries nobody can change; users that are gone; roles for the worker and for readers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ROLES = """
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['trivet_worker', 'trivet_reader'] LOOP
        IF to_regrole(role) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'no right to create roles: make trivet_worker and trivet_reader by hand, then migrate again';
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- another database of this server is being migrated in this very moment
END
$$
"""

# Each role gets its rights where it exists. The worker has no DDL, and only adds to the ledger.
RIGHTS = """
DO $$
BEGIN
    IF to_regrole('trivet_worker') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA public, trivet TO trivet_worker;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, trivet TO trivet_worker;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public, trivet TO trivet_worker;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public, trivet
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO trivet_worker;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public, trivet GRANT USAGE ON SEQUENCES TO trivet_worker;
        REVOKE UPDATE, DELETE, TRUNCATE ON ledger_entries FROM trivet_worker;
    END IF;
    IF to_regrole('trivet_reader') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA public, trivet TO trivet_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA public, trivet TO trivet_reader;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public, trivet GRANT SELECT ON TABLES TO trivet_reader;
    END IF;
END
$$
"""


LISTS = {"users_created_at_idx": ["created_at", "id"], "users_name_idx": ["name", "id"]}


def upgrade() -> None:
    op.add_column("accounts", sa.Column("held", sa.BigInteger(), server_default="0", nullable=False))
    # Not validated at once: checking every row would keep writers out. The second step only keeps out other DDL.
    op.execute(
        "ALTER TABLE accounts ADD CONSTRAINT accounts_held_check CHECK (held BETWEEN 0 AND balance) NOT VALID"
    )
    op.execute("ALTER TABLE accounts VALIDATE CONSTRAINT accounts_held_check")
    op.create_table(
        "holds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False, comment="minor units"),
        sa.Column("captured", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("captured BETWEEN 0 AND amount", name=op.f("holds_captured_check")),
        sa.ForeignKeyConstraint(["source_id"], ["accounts.id"], name=op.f("holds_source_id_fkey")),
        sa.ForeignKeyConstraint(["target_id"], ["accounts.id"], name=op.f("holds_target_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("holds_pkey")),
    )
    op.create_index("holds_source_id_idx", "holds", ["source_id"])
    op.create_index("holds_target_id_idx", "holds", ["target_id"])
    op.create_index(
        "holds_expiring_idx",
        "holds",
        ["expires_at"],
        postgresql_where=sa.text("resolved_at IS NULL AND expires_at IS NOT NULL"),
    )
    op.execute("""
        CREATE FUNCTION trivet.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'entries of % are never changed or removed: enter the reverse movement', TG_TABLE_NAME;
        END
        $$
    """)
    op.execute("""
        CREATE TRIGGER ledger_entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
        FOR EACH STATEMENT EXECUTE FUNCTION trivet.refuse_change()
    """)
    op.add_column("users", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(ROLES)
    op.execute(RIGHTS)
    with op.get_context().autocommit_block():
        # Lists go by these; concurrently, for the table may be large and in use.
        for name, columns in LISTS.items():
            op.create_index(
                name,
                "users",
                columns,
                postgresql_concurrently=True,
                if_not_exists=True,
                postgresql_where=sa.text("deleted_at IS NULL"),
            )


def downgrade() -> None:
    for name in LISTS:
        op.drop_index(name, "users")
    op.drop_column("users", "deleted_at")
    op.execute("DROP TRIGGER ledger_entries_stay ON ledger_entries")
    op.execute("DROP FUNCTION trivet.refuse_change()")
    op.drop_table("holds")
    op.drop_column("accounts", "held")
