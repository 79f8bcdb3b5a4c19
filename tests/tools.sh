#!/usr/bin/env bash
# Installs what some tests run besides Rust, below target/tools: the decoders' libraries (PyPI `cryptography`, npm @noble/*) and the
# npm package json-server, a real application. Without it those tests say SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/tools
mkdir -p "$tools"
if ! "$tools/venv/bin/python" -c 'import cryptography; assert int(cryptography.__version__.split(".")[0]) >= 50' 2>/dev/null; then
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check 'cryptography>=50'
fi
if [ ! -d "$tools/npm/node_modules/json-server" ] || [ ! -d "$tools/npm/node_modules/@noble/post-quantum" ]; then
  mkdir -p "$tools/npm"
  cp tests/interop/package.json "$tools/npm/package.json"
  npm install --prefix "$tools/npm" --package-lock=false --no-audit --no-fund --silent
fi
echo "tools are in $tools"
