#!/usr/bin/env bash
# Passes and opens an answer of five thousand tokens through the release binary and compares the CPU time; see README.md.
# `./opened.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
for tool in nginx python3; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "opened.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y nginx-light python3" >&2
  exit 69
fi
case " $* " in
*" --help "* | *" -h "* | *" --binary"*) ;;
*) cargo build --release --locked --bin sidecloak >&2 ;;
esac
exec python3 tests/bench/opened.py "$@"
