#!/bin/bash
# What the official image does at its start, as far as compose.yaml asks for it: makes the cluster once, runs
# /docker-entrypoint-initdb.d, then becomes the server.
set -euo pipefail
bin=$(echo /usr/lib/postgresql/*/bin)
PATH=$bin:$PATH
export PGDATA=${PGDATA:-/var/lib/postgresql/data}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # They are words.
  initdb --username postgres --pwfile "$POSTGRES_PASSWORD_FILE" ${POSTGRES_INITDB_ARGS:-} --encoding UTF8 --locale C.UTF-8 >/dev/null
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl --wait --silent --options "-c listen_addresses=''" start
  for script in /docker-entrypoint-initdb.d/*.sh; do
    [ -e "$script" ] || continue
    # As the official image does: what cannot be executed is read.
    if [ -x "$script" ]; then "$script"; else . "$script"; fi
  done
  pg_ctl --wait --silent --mode fast stop
fi

exec postgres -c listen_addresses='*' -c jit=off "$@"
