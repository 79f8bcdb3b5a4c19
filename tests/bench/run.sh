#!/usr/bin/env bash
# Measures sidecloak beside nginx on this machine and prints ratios; see README.md. `./run.sh --help` lists the options.
# Debian packages: nginx-light (or nginx), wrk, python3. Everything is on loopback, in a temporary folder; under five minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
for tool in nginx:nginx-light wrk:wrk python3:python3 cargo:cargo; do
  PATH="$PATH:/usr/sbin" command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "run.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y ${missing[*]}" >&2
  exit 69
fi
case " $* " in *" --binary"* | *" --help "* | *" -h "*) ;; *) cargo build --release --locked --bin sidecloak >&2 ;; esac
PATH="$PATH:/usr/sbin" exec python3 tests/bench/bench.py "$@"
