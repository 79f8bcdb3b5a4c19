#!/usr/bin/env bash
# Measures the JSON engine beside serde_json, sonic-rs, simd-json, rsonpath and memcpy on this machine and prints ratios; see README.md.
# twitter, citm_catalog and canada come from the npm package simdjson, of which nothing is run. `./json.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
for tool in npm cargo; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "json.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y ${missing[*]}" >&2
  exit 69
fi
list=tests/bench/json/package.json
place=target/tools/bench-documents
if ! cmp -s "$list" "$place/package.json" || [ ! -d "$place/node_modules" ]; then
  mkdir -p "$place"
  (cp "$list" "$place/" && cd "$place" && npm install --ignore-scripts --loglevel=error --package-lock=false --no-audit --no-fund --no-update-notifier >&2) ||
    echo 'json.sh: the package of documents cannot be had; measuring those alone that are made here' >&2
fi
SIDECLOAK_PROFILE=off CARGO_TARGET_DIR=target/bench-json cargo build --release --locked --manifest-path tests/bench/json/Cargo.toml >&2
exec target/bench-json/release/sidecloak-bench-json --documents "$place/node_modules/simdjson/jsonexamples" "$@"
