"""Jobs are enqueued by SQL; those that were sent are numbered, so that what Redis lost is known."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ROLE = """
DO $$
BEGIN
    IF to_regrole('trivet_producer') IS NULL THEN
        CREATE ROLE trivet_producer NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'no right to create roles: make trivet_producer by hand, then grant it what 0007 does';
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- another database of this server is being migrated in this very moment
END
$$
"""

# The same as `worker.messages.derive_id`; docs/reference/job-ids.md has the vectors of both.
DERIVE_ID = """
CREATE FUNCTION trivet.derive_id(task text, key text) RETURNS uuid
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT encode(
        set_byte(set_byte(first, 6, get_byte(first, 6) & 15 | 128), 8, get_byte(first, 8) & 63 | 128), 'hex'
    )::uuid
    FROM (
        SELECT substr(sha256(
            convert_to('trivet', 'UTF8') || decode('00', 'hex')
            || convert_to(task, 'UTF8') || decode('00', 'hex') || convert_to(key, 'UTF8')
        ), 1, 16) AS first
    ) AS hash
$$
"""

# A number with a fraction is a double, written as orjson writes it: plainly from 1e-5 to below 1e16.
CANONICAL_NUMBER = """
CREATE FUNCTION trivet.canonical_number(number numeric) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN scale(number) = 0 THEN number::text
        WHEN double = 0 THEN '0.0'
        WHEN abs(double) < 1e-5 OR abs(double) >= 1e16
            THEN regexp_replace(double::text, 'e([+-])0([0-9])$', 'e\\1\\2')
        ELSE plain || CASE WHEN position('.' IN plain) = 0 THEN '.0' ELSE '' END
    END
    FROM (SELECT number::float8 AS double) AS one, LATERAL (SELECT double::text::numeric::text AS plain) AS written
$$
"""

# The same as `worker.messages.canonical`, of what JSONB keeps of a payload.
CANONICAL = """
CREATE FUNCTION trivet.canonical(value jsonb) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE jsonb_typeof(value)
        WHEN 'object' THEN
            RETURN '{' || coalesce((
                SELECT string_agg(to_json(each.key)::text || ':' || trivet.canonical(each.value), ','
                                  ORDER BY each.key COLLATE "C")
                FROM jsonb_each(value) AS each
            ), '') || '}';
        WHEN 'array' THEN
            RETURN '[' || coalesce((
                SELECT string_agg(trivet.canonical(list.item), ',' ORDER BY list.place)
                FROM jsonb_array_elements(value) WITH ORDINALITY AS list (item, place)
            ), '') || ']';
        WHEN 'number' THEN
            RETURN trivet.canonical_number(value::numeric);
        ELSE
            RETURN value::text;
    END CASE;
END
$$
"""

DIGEST_OF = """
CREATE FUNCTION trivet.digest_of(body bytea) RETURNS bytea
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT sha256(convert_to(trivet.canonical(convert_from(body, 'UTF8')::jsonb -> 1), 'UTF8'))
$$
"""

# Without a digest, that of the payload is not known yet: a worker computes it, of JSON that it has read itself.
# Here it is computed only where a job id comes again. What a worker cannot make canonical has its body's digest.
ACCEPT = """
CREATE FUNCTION trivet.accept(
    job_id uuid, task text, task_id text, body bytea, digest bytea, headers jsonb, deadline timestamptz,
    run_at timestamptz
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    due timestamptz := coalesce(accept.run_at, now());
BEGIN
    INSERT INTO trivet.jobs (id, task, task_id, digest, state, deadline, due_at, body, headers)
    VALUES (
        accept.job_id, accept.task, accept.task_id, accept.digest, 'accepted',
        coalesce(accept.deadline, least(greatest(due, now()) + interval '24 hours', '9999-01-01 00:00Z')), due,
        accept.body, accept.headers
    )
    ON CONFLICT (id) DO NOTHING;
    RETURN FOUND OR EXISTS (
        SELECT FROM trivet.jobs AS known
        WHERE known.id = accept.job_id AND known.task = accept.task AND (
            known.digest = sha256(accept.body)
            OR coalesce(known.digest, trivet.digest_of(known.body))
               = coalesce(accept.digest, trivet.digest_of(accept.body))
        )
    );
END
$$
"""

# What every task refuses is told to the caller; what only its own task knows, a worker rejects.
REFUSAL = """
CREATE FUNCTION trivet.refusal(task text, payload jsonb, idempotency_key text, run_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN (task ~ '^[^.[:space:]]+[.][^[:space:]]+$') IS NOT TRUE OR length(task) > 255
            THEN 'the task must be <queue>.<verb>, like accounts.transfer'
        WHEN (jsonb_typeof(payload) = 'object') IS NOT TRUE
            THEN 'the payload must be a JSON object'
        WHEN octet_length(payload::text) > 262144 AND octet_length(trivet.canonical(payload)) > 262144
            THEN 'the payload is larger than 262144 bytes of canonical JSON'
        WHEN length(idempotency_key) NOT BETWEEN 1 AND 512
            THEN 'the idempotency key must have 1 to 512 characters'
        WHEN run_at NOT BETWEEN '2000-01-01 00:00Z' AND '9000-01-01 00:00Z'
            THEN 'run_at must be a time between the years 2000 and 9000'
    END
$$
"""

ENQUEUE = """
CREATE FUNCTION trivet.enqueue(
    task text, payload jsonb, idempotency_key text DEFAULT NULL, run_at timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    refusal text := trivet.refusal(task, payload, idempotency_key, run_at);
    job_id uuid := coalesce(trivet.derive_id(task, idempotency_key), gen_random_uuid());
    body bytea := convert_to(
        '[[],' || payload::text || ',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]', 'UTF8'
    );
    headers jsonb := jsonb_strip_nulls(jsonb_build_object('idempotency_key', idempotency_key));
BEGIN
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION 'trivet.enqueue: %', refusal USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT trivet.accept(job_id, task, job_id::text, body, NULL, headers, NULL, run_at) THEN
        RAISE EXCEPTION 'trivet.enqueue: idempotency_conflict: job % has another payload or task', job_id
            USING ERRCODE = 'unique_violation', HINT = 'Use another idempotency key for another payload.';
    END IF;
    RETURN job_id;
END
$$
"""

# Once created, everybody may call a function who may use its schema: only those who enqueue are to.
RIGHTS = """
DO $$
DECLARE
    role text;
BEGIN
    REVOKE EXECUTE ON FUNCTION
        trivet.enqueue(text, jsonb, text, timestamptz),
        trivet.accept(uuid, text, text, bytea, bytea, jsonb, timestamptz, timestamptz)
        FROM PUBLIC;
    FOREACH role IN ARRAY ARRAY['trivet_producer', 'trivet_worker'] LOOP
        IF to_regrole(role) IS NOT NULL THEN
            EXECUTE format('GRANT USAGE ON SCHEMA trivet TO %I', role);
            EXECUTE format('GRANT EXECUTE ON FUNCTION trivet.enqueue(text, jsonb, text, timestamptz),'
                ' trivet.accept(uuid, text, text, bytea, bytea, jsonb, timestamptz, timestamptz) TO %I', role);
        END IF;
    END LOOP;
END
$$
"""

FUNCTIONS = {
    "derive_id(text, text)": DERIVE_ID,
    "canonical_number(numeric)": CANONICAL_NUMBER,
    "canonical(jsonb)": CANONICAL,
    "digest_of(bytea)": DIGEST_OF,
    "refusal(text, jsonb, text, timestamptz)": REFUSAL,
    "accept(uuid, text, text, bytea, bytea, jsonb, timestamptz, timestamptz)": ACCEPT,
    "enqueue(text, jsonb, text, timestamptz)": ENQUEUE,
}


def upgrade() -> None:
    # A worker of the version before takes a job without a digest for a conflict: enqueue by SQL when all are new.
    op.alter_column("jobs", "digest", nullable=True, schema="trivet")
    op.add_column(
        "jobs",
        sa.Column(
            "sent", sa.BigInteger(), nullable=True, comment="the number under which it was last sent to its queue"
        ),
        schema="trivet",
    )
    op.create_table(
        "sends",
        sa.Column("single", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False, comment="of the job sent last"),
        sa.Column("lost_above", sa.BigInteger(), nullable=True, comment="what was sent after this number is lost,"),
        sa.Column("lost_to", sa.BigInteger(), nullable=True, comment="up to this one, and is sent again"),
        sa.CheckConstraint("single", name=op.f("sends_single_check")),
        sa.PrimaryKeyConstraint("single", name=op.f("sends_pkey")),
        schema="trivet",
    )
    op.execute("INSERT INTO trivet.sends DEFAULT VALUES")
    for function in FUNCTIONS.values():
        op.execute(sa.text(function.replace(":", "\\:")))
    op.execute(ROLE)
    op.execute(RIGHTS)
    with op.get_context().autocommit_block():
        # Concurrently, for the table may be large and in use.
        op.create_index(
            "jobs_sent_idx",
            "jobs",
            ["sent"],
            schema="trivet",
            postgresql_concurrently=True,
            if_not_exists=True,
            postgresql_where=sa.text("sent IS NOT NULL AND due_at IS NULL AND ended_at IS NULL"),
        )


def downgrade() -> None:
    op.drop_index("jobs_sent_idx", "jobs", schema="trivet")
    op.execute("UPDATE trivet.jobs SET digest = trivet.digest_of(body) WHERE digest IS NULL")
    op.alter_column("jobs", "digest", nullable=False, schema="trivet")
    for signature in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION trivet.{signature}")
    op.drop_table("sends", schema="trivet")
    op.drop_column("jobs", "sent", schema="trivet")
