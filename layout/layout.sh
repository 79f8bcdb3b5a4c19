#!/usr/bin/env bash
# Finds out which functions run when a process starts and serves, and writes layout/code.ld, by which the next build puts them side by
# side (docs/adr/0026-order-of-the-code.md). `./layout.sh --help` lists the options.
# It measures the release program and that of the image, which inlines less; building both takes a quarter of an hour, the rest a minute.
# Debian packages: nginx-light (or nginx), wrk, python3, valgrind, binutils. Everything is on loopback, in a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin"
missing=()
for tool in nginx:nginx-light wrk:wrk python3:python3 valgrind:valgrind nm:binutils cargo:cargo; do
  command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "layout.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y ${missing[*]}" >&2
  exit 69
fi
case " $* " in
  *" --binary"* | *" --help "* | *" -h "*) ;;
  *)
    cargo build --release --locked --bin sidecloak >&2
    # With its symbols, so this is no image to ship.
    CARGO_PROFILE_IMAGE_STRIP=none deploy/image/build.sh binary >&2
    mv target/image/sidecloak target/image/sidecloak.symbols
    set -- --binary target/release/sidecloak --binary target/image/sidecloak.symbols "$@"
    ;;
esac
exec python3 layout/layout.py "$@"
