-- The portal's database roles. Run once per cluster, as a superuser; running it again is harmless.
-- Passwords apart: give each LOGIN role one with \password, or let the quick start do it.
--
--   jitportal_owner    owns the database and its tables; runs the migrations and nothing else.
--                      In production: NOLOGIN between deployments.
--   jitportal_app      web and workers. May add records, never change or remove them.
--   jitportal_sealer   writes the ledger's entries and checkpoints.
--   jitportal_auditor  reads.
--   jitportal_broker   owns the database of the PostgreSQL-backed broker. Not needed with Redis or
--                      RabbitMQ.
--
-- What each may do on which table is granted by the migrations, table by table.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'jitportal_owner', 'jitportal_app', 'jitportal_sealer', 'jitportal_auditor',
        'jitportal_broker'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
        EXECUTE format(
            'ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS',
            wanted
        );
    END LOOP;
END
$$;
