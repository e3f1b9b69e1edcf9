-- The roles of PostgreSQL, and a login for each service. `deploy/make-secrets.sh` puts the passwords in and writes
-- `secrets/postgres_users.sql`, which the image of PostgreSQL runs once, in the new database, as its superuser.

CREATE ROLE trivet_owner NOLOGIN;
CREATE ROLE trivet_worker NOLOGIN;
CREATE ROLE trivet_reader NOLOGIN;
CREATE ROLE trivet_producer NOLOGIN;

CREATE ROLE migrate LOGIN PASSWORD '@postgres_migrate@' IN ROLE trivet_owner;
CREATE ROLE worker LOGIN PASSWORD '@postgres_worker@' IN ROLE trivet_worker;
CREATE ROLE beat LOGIN PASSWORD '@postgres_beat@' IN ROLE trivet_worker;
CREATE ROLE reader LOGIN PASSWORD '@postgres_reader@' IN ROLE trivet_reader;
CREATE ROLE producer LOGIN PASSWORD '@postgres_producer@' IN ROLE trivet_producer;

-- Whoever migrates does it as the owner, so that all tables have the same one, whatever login comes after this one.
ALTER ROLE migrate SET role = 'trivet_owner';

DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I OWNER TO trivet_owner', current_database());
    EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO trivet_worker, trivet_reader, trivet_producer', current_database());
    -- `trivet check` proves that it can write by a table that is gone at commit.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO trivet_worker', current_database());
END
$$;
