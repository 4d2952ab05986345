#!/bin/sh
# Makes the portal's roles and its database in a new PostgreSQL, as its superuser. The image
# `postgres` runs what lies in /docker-entrypoint-initdb.d when its volume is empty.
#
# SQL_FOLDER holds roles.sql and database.sql (jitportal/embedded in the checkout), PASSWORDS the
# files owner-password, app-password and sealer-password.
set -eu
: "${SQL_FOLDER:=/jitportal}" "${PASSWORDS:=/run/secrets}"
export PASSWORDS

run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$@"; }

run --dbname postgres --file "$SQL_FOLDER/roles.sql"
run --dbname postgres <<'SQL'
SELECT 'CREATE DATABASE jitportal OWNER jitportal_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'jitportal') \gexec
\set owner `cat "$PASSWORDS/owner-password"`
\set app `cat "$PASSWORDS/app-password"`
\set sealer `cat "$PASSWORDS/sealer-password"`
ALTER ROLE jitportal_owner PASSWORD :'owner';
ALTER ROLE jitportal_app PASSWORD :'app';
ALTER ROLE jitportal_sealer PASSWORD :'sealer';
ALTER ROLE jitportal_auditor NOLOGIN;
ALTER ROLE jitportal_broker NOLOGIN;
SQL
run --dbname jitportal --file "$SQL_FOLDER/database.sql"
