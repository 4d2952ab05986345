-- The roles of the quick start's target. Running it again is harmless.
--
--   orders_read, orders_rw, orders_owner   what the portal grants, for a while. Nobody signs in as
--                                          them.
--   alice, bob, carol, erin, dora, …       people. They may connect, and read nothing.
--   jitportal_connector                    the portal: may grant those three roles and end
--                                          sessions. No superuser, and from PostgreSQL 16 on it
--                                          can't use the roles itself.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['orders_read', 'orders_rw', 'orders_owner'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    FOREACH wanted IN ARRAY ARRAY[
        'alice', 'bob', 'carol', 'erin', 'dora', 'diego', 'ingrid', 'liam', 'marta', 'mei', 'nadia',
        'priya', 'ruth', 'sofia', 'tariq', 'tomasz', 'yuki', 'jitportal_connector'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', wanted);
    END LOOP;
    IF current_setting('server_version_num')::integer >= 160000 THEN
        EXECUTE 'GRANT orders_read, orders_rw, orders_owner TO jitportal_connector '
            'WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';
    ELSE
        GRANT orders_read, orders_rw, orders_owner TO jitportal_connector WITH ADMIN OPTION;
    END IF;
END
$$;

GRANT pg_signal_backend, pg_read_all_stats TO jitportal_connector;
