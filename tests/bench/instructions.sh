#!/usr/bin/env bash
# Counts the instructions that sidecloak and nginx spend on a request; see README.md. `./instructions.sh --help` lists the options.
# Debian packages: nginx-light (or nginx), wrk, python3, linux-perf; with libnginx-mod-http-echo also long bodies. Everything is on
# loopback, in a temporary folder; under a minute.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/sbin"
missing=()
for tool in nginx:nginx-light wrk:wrk python3:python3 perf:linux-perf cargo:cargo; do
  command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "instructions.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y ${missing[*]}" >&2
  exit 69
fi
case " $* " in *" --binary"* | *" --help "* | *" -h "*) ;; *) cargo build --release --locked --bin sidecloak >&2 ;; esac
exec python3 tests/bench/instructions.py "$@"
