-- Who may enter the portal's database, and who may create things in it. Run in that database, as a
-- superuser, after roles.sql; running it again is harmless.

DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I OWNER TO jitportal_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO jitportal_app, jitportal_sealer, jitportal_auditor',
        current_database()
    );
END
$$;

ALTER SCHEMA public OWNER TO jitportal_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO jitportal_app, jitportal_sealer, jitportal_auditor;
