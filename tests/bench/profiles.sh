#!/usr/bin/env bash
# Measures fields sealed by managed APIs beside fields sealed with local keys, and rules of local keys while an API hangs, as ratios;
# see README.md. Debian packages: nginx-light (or nginx), wrk, python3. Everything is on loopback, in a temporary folder.
# `./profiles.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
for tool in nginx:nginx-light wrk:wrk python3:python3 cargo:cargo; do
  PATH="$PATH:/usr/sbin" command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "profiles.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y ${missing[*]}" >&2
  exit 69
fi
case " $* " in
*" --binary"* | *" --help "* | *" -h "*) ;;
*) cargo build --release --locked --bin sidecloak --example bench-authority >&2 ;;
esac
PATH="$PATH:/usr/sbin" exec python3 tests/bench/profiles/bench.py "$@"
