#!/usr/bin/env bash
# Measures what the program does when it starts and serves, and writes what the next build goes by:
#   layout/requests.profdata  which ways it takes through its functions (docs/adr/0028-profile-guided-build.md)
#   layout/code.ld            which functions run, so that they lie side by side (docs/adr/0026-order-of-the-code.md)
# `./layout.sh profile` or `./layout.sh order` measures one of the two; without a word first the profile, then the order.
# The order is measured on the release program and on that of the image, which inlines less; the profile is of the release program
# alone. Three builds take half an hour, the rest minutes.
# Debian packages: nginx-light (or nginx), libnginx-mod-http-echo, wrk, python3, llvm-19, valgrind, binutils. Everything is on loopback,
# in temporary folders and in target/.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin"

main() {
  case ${1:-both} in
    profile) tools && profile ;;
    order) tools && order ;;
    both) tools && profile && order ;;
    *) echo "usage: $0 [profile | order]" >&2 && exit 64 ;;
  esac
}

tools() {
  local missing=() tool
  for tool in nginx:nginx-light wrk:wrk python3:python3 llvm-profdata-19:llvm-19 valgrind:valgrind nm:binutils cargo:cargo; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
  done
  [ -e /usr/lib/nginx/modules/ngx_http_echo_module.so ] || missing+=(libnginx-mod-http-echo)
  if [ ${#missing[@]} -gt 0 ]; then
    echo "layout.sh: missing: ${missing[*]}; on Debian: apt-get update && apt-get install -y ${missing[*]}" >&2
    exit 69
  fi
}

# In a folder of its own: cargo does not know by what means a program was made that counts its own steps.
profile() {
  rm -rf target/layout
  SIDECLOAK_PROFILE=generate CARGO_TARGET_DIR=target/layout cargo build --release --locked --bin sidecloak >&2
  python3 layout/guide.py --binary target/layout/release/sidecloak
  # Neither does it know by what profile.
  cargo clean --release >&2
}

# With its symbols the image's program is none to ship.
order() {
  cargo build --release --locked --bin sidecloak >&2
  CARGO_PROFILE_IMAGE_STRIP=none deploy/image/build.sh binary >&2
  mv target/image/sidecloak target/image/sidecloak.symbols
  python3 layout/layout.py --binary target/release/sidecloak --binary target/image/sidecloak.symbols
}

main "$@"
