#!/bin/bash
# Run once, as the database is made: a user and a database for the application, and for the keyring, each closed to the other.
set -euo pipefail
export PGPASSWORD
PGPASSWORD=$(<"$POSTGRES_PASSWORD_FILE")

make() {
  psql --username postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set name="$1" --set password="$(<"/run/secrets/$2")" <<'SQL'
CREATE USER :"name" PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

make accounts accounts-db
make keyring keyring-db
