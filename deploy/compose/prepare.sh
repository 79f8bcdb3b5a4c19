#!/usr/bin/env bash
# Makes what `docker compose up` needs from a clone: the images that are not there, the secrets, the keyring, and .env.
# What is there already stays as it is. ENGINE, COMPOSE and BASES=debian (ask no registry) may be set.
set -euo pipefail
umask 077
cd "$(dirname "$0")"
engine=${ENGINE:-docker}
compose=${COMPOSE:-docker compose}
work=$(realpath -m ../../target/compose)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../../Cargo.toml | head -1)

main() {
  touch .env
  images
  secrets
  keyring
  echo "ready: $compose up --detach --wait"
}

there() { $engine image inspect "$1" >/dev/null 2>&1; }

# setting NAME [VALUE]: what .env says, or makes it say so.
setting() {
  if [ $# = 1 ]; then sed -n "s/^$1=//p" .env; return; fi
  sed -i "/^$1=/d" .env
  echo "$1=$2" >>.env
}

images() {
  there "sidecloak:$version" || ENGINE=$engine ../image/build.sh
  setting SIDECLOAK_IMAGE "sidecloak:$version"
  if [ -z "$(setting POSTGRES_VERSION)" ]; then bases; fi
  if ! there sidecloak-accounts:1; then
    rm -rf "$work/app"
    mkdir -p "$work/app"
    cp app/Dockerfile ../../tests/apps/accounts/app.py "$work/app/"
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --root-user-action=ignore --target "$work/app/packages" \
      --requirement ../../tests/apps/accounts/requirements.txt
    chmod -R go=rX "$work/app"
    $engine build --quiet --tag sidecloak-accounts:1 --build-arg PYTHON="$(setting PYTHON_VERSION)-slim" "$work/app" >/dev/null
  fi
}

# The images that others make: from a registry, else out of Debian's packages.
bases() {
  local postgres=17 python=3.13
  if [ "${BASES:-}" = debian ] || ! { pulled "postgres:$postgres" && pulled "python:$python-slim"; }; then
    local made
    made=$(umask 022 && ENGINE=$engine ./images.sh)
    postgres=$(sed -n 's/^POSTGRES_VERSION=//p' <<<"$made")
    python=$(sed -n 's/^PYTHON_VERSION=//p' <<<"$made")
  fi
  setting POSTGRES_VERSION "$postgres"
  setting PYTHON_VERSION "$python"
}

pulled() { there "$1" || timeout 300 $engine pull --quiet "$1"; }

secrets() {
  if [ ! -e secrets/done ]; then
    rm -rf secrets
    mkdir secrets
    local name
    for name in postgres accounts-db keyring-db; do openssl rand -hex 24 >"secrets/$name"; done
    # What `sidecloak keys init` would make: 32 bytes in base64url.
    openssl rand -base64 32 | tr '+/' '-_' | tr -d '=' >secrets/master.key
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj '/CN=sidecloak compose' \
      -keyout "$work/ca.key" -out secrets/ca.crt 2>/dev/null
    certificate authority DNS:authority
    certificate front DNS:front.sidecloak.example
    # Nobody issues another: with new certificates comes a new authority for them.
    rm -f "$work"/ca.key "$work"/*.csr secrets/*.srl
    owners
    touch secrets/done
  fi
}

certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -addext "subjectAltName=$2" \
    -keyout "secrets/$1.key" -out "$work/$1.csr" 2>/dev/null
  openssl x509 -req -in "$work/$1.csr" -CA secrets/ca.crt -CAkey "$work/ca.key" -CAcreateserial -days 365 -copy_extensions copy \
    -out "secrets/$1.crt" 2>/dev/null
}

# Each secret to the user who reads it in a container, by way of the engine, which may. Mounted files keep owner and mode.
owners() {
  $engine run --rm --user 0 --network none --volume "$PWD/secrets:/secrets" --entrypoint /bin/bash "postgres:$(setting POSTGRES_VERSION)" -ec '
    cd /secrets
    chmod 0400 postgres master.key *.key
    chmod 0440 accounts-db keyring-db
    chmod 0444 *.crt
    chown 999:999 postgres
    chown 10001:999 accounts-db
    chown 65532:999 keyring-db
    chown 65532:65532 master.key *.key'
  chmod 0755 secrets
}

# The keyring, and who owns it.
keyring() {
  [ -z "$(setting SIDECLOAK_OWNER)" ] || return 0
  export SIDECLOAK_OWNER=none
  $compose up --quiet-pull --detach --wait postgres
  $compose run --rm -T keyring >/dev/null
  local owner
  owner=$($compose run --rm -T --no-deps keyring keys list | sed -n 's/^owner //p')
  $compose down
  setting SIDECLOAK_OWNER "$owner"
}

main
