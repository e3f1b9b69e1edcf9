"""The spine: the ledger of jobs, the outbox, users, accounts and their ledger."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "job_conflicts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="of the payload that was refused"),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "digest", name=op.f("job_conflicts_pkey")),
        schema="trivet",
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column(
            "task_id", sa.Text(), nullable=False, comment="the message's: results, Flower and revoke go by it"
        ),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the canonical payload"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column(
            "data",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="a result, or {code, message, ...}",
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it is sent to its queue, if it has not ended by then",
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "body",
            sa.LargeBinary(),
            nullable=True,
            comment="the raw message, kept until the job has ended, and for a parked one",
        ),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "history",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="[{at, error}] of the attempts that failed",
        ),
        sa.CheckConstraint(
            "state IN ('accepted', 'retrying', 'succeeded', 'rejected', 'parked')", name=op.f("jobs_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
        schema="trivet",
    )
    op.create_index(
        "jobs_due_idx",
        "jobs",
        ["due_at"],
        unique=False,
        schema="trivet",
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "jobs_ended_idx",
        "jobs",
        ["ended_at"],
        unique=False,
        schema="trivet",
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index(
        "jobs_unsuccessful_idx",
        "jobs",
        ["state", "first_seen"],
        unique=False,
        schema="trivet",
        postgresql_where=sa.text("state <> 'succeeded'"),
    )
    op.execute("CREATE SEQUENCE trivet.outbox_id AS bigint CACHE 1")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), server_default=sa.text("nextval('trivet.outbox_id')"), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False, comment="bytes that a turn has to carry"),
        sa.Column("effects", sa.Text(), nullable=True, comment="the Redis lane's, as JSON"),
        sa.Column("documents", sa.ARRAY(sa.LargeBinary()), nullable=True, comment="the document lane's, as BSON"),
        sa.Column(
            "event", sa.Text(), nullable=True, comment="the CloudEvent without its sequence, which is this row's id"
        ),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="waits until then after a failure; null: at once",
        ),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True, comment="given up: it can never succeed"),
        sa.Column("owed_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
        schema="trivet",
    )
    # It fills and empties all day: statistics that are hours old would make the planner scan it whole.
    op.execute(
        "ALTER TABLE trivet.outbox"
        " SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.02)"
    )
    op.create_index(op.f("outbox_job_id_idx"), "outbox", ["job_id"], unique=False, schema="trivet")
    op.create_index(
        "outbox_owed_idx",
        "outbox",
        ["lane", "shard", "id"],
        unique=False,
        schema="trivet",
        postgresql_where=sa.text("parked_at IS NULL"),
    )
    op.create_index(
        "outbox_waiting_idx",
        "outbox",
        ["subject", "id"],
        unique=False,
        schema="trivet",
        postgresql_where=sa.text("due_at IS NOT NULL AND parked_at IS NULL"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
    )
    op.create_index("users_email_key", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("balance BETWEEN 0 AND 9007199254740991", name=op.f("accounts_balance_check")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("accounts_owner_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("accounts_pkey")),
    )
    op.create_index(op.f("accounts_owner_id_idx"), "accounts", ["owner_id"], unique=False)
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("movement_id", sa.Uuid(), nullable=False, comment="the job that moved the money"),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column(
            "amount", sa.BigInteger(), nullable=False, comment="minor units: positive came in, negative went out"
        ),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ledger_entries_amount_check")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("ledger_entries_account_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("ledger_entries_pkey")),
    )
    op.create_index(op.f("ledger_entries_account_id_idx"), "ledger_entries", ["account_id"], unique=False)
    op.create_index(op.f("ledger_entries_movement_id_idx"), "ledger_entries", ["movement_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ledger_entries_movement_id_idx"), table_name="ledger_entries")
    op.drop_index(op.f("ledger_entries_account_id_idx"), table_name="ledger_entries")
    op.drop_table("ledger_entries")
    op.drop_index(op.f("accounts_owner_id_idx"), table_name="accounts")
    op.drop_table("accounts")
    op.drop_index("users_email_key", table_name="users")
    op.drop_table("users")
    op.drop_index(
        "outbox_waiting_idx",
        table_name="outbox",
        schema="trivet",
        postgresql_where=sa.text("due_at IS NOT NULL AND parked_at IS NULL"),
    )
    op.drop_index(
        "outbox_owed_idx", table_name="outbox", schema="trivet", postgresql_where=sa.text("parked_at IS NULL")
    )
    op.drop_index(op.f("outbox_job_id_idx"), table_name="outbox", schema="trivet")
    op.drop_table("outbox", schema="trivet")
    op.execute("DROP SEQUENCE trivet.outbox_id")
    op.drop_index(
        "jobs_unsuccessful_idx",
        table_name="jobs",
        schema="trivet",
        postgresql_where=sa.text("state <> 'succeeded'"),
    )
    op.drop_index(
        "jobs_ended_idx", table_name="jobs", schema="trivet", postgresql_where=sa.text("ended_at IS NOT NULL")
    )
    op.drop_index(
        "jobs_due_idx", table_name="jobs", schema="trivet", postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.drop_table("jobs", schema="trivet")
    op.drop_table("job_conflicts", schema="trivet")
