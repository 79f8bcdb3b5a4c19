#!/usr/bin/env bash
# Builds the image from a clone: target/image/{sidecloak,rootfs.tar,sidecloak.cdx.json}, then `sidecloak:VERSION` in the
# store of podman or docker. README.md beside this tells what may be set, and what is reproducible.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
out=$root/target/image
# The committed profile hardly knows a function of this program, and costs it half a megabyte.
export CARGO_TARGET_DIR=$out CARGO_INCREMENTAL=0 LC_ALL=C TZ=UTC SIDECLOAK_PROFILE=off

main() {
  local to=${1:-image}
  case $to in binary | files | image) ;; *) die "usage: $0 [binary | files | image]" ;; esac
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} || die 'no commit to take the time from: set SOURCE_DATE_EPOCH'
  export SOURCE_DATE_EPOCH
  mkdir -p "$out"
  binary
  [ "$to" = binary ] && return
  filesystem
  sbom
  [ "$to" = files ] && return
  image
}

die() {
  echo "$0: $1" >&2
  exit 1
}

# The static program. No path of this machine is in it, and nothing that differs from build to build.
binary() {
  if [ -n "${BINARY:-}" ]; then
    [ "$BINARY" -ef "$out/sidecloak" ] || cp "$BINARY" "$out/sidecloak"
    return
  fi
  local triple flags home crates
  triple=$(uname -m)-unknown-linux-gnu
  home=${CARGO_HOME:-$HOME/.cargo}
  cargo fetch --locked --target "$triple"
  # Of several that match, the last counts.
  # The names that layout/code.ld is written in, as in .cargo/config.toml, which these flags replace.
  flags=(-C target-feature=+crt-static -C symbol-mangling-version=v0 "--remap-path-prefix=$home=/cargo")
  # Nothing unwinds through C.
  export CFLAGS="${CFLAGS:-} -fno-asynchronous-unwind-tables"
  for crates in "$home"/registry/src/*/; do
    flags+=("--remap-path-prefix=${crates%/}=/crates")
    CFLAGS+=" -ffile-prefix-map=${crates%/}=/crates"
  done
  flags+=("--remap-path-prefix=$root=/sidecloak")
  CFLAGS+=" -ffile-prefix-map=$root=/sidecloak"
  flags+=(-C link-arg=-Wl,--build-id=none)
  # What is not marked for it is inlined where it is small: README.md has what that saves, and costs.
  flags+=(-C llvm-args=-inline-threshold=20)
  # Rust's own lld, which is the linker here: equal functions once, and relocations in a tenth of the room.
  if [ "$(uname -m)" = x86_64 ]; then flags+=(-C link-arg=-Wl,--icf=all,-z,pack-relative-relocs); fi
  # The time is of no use to a compiler, and what is C would be compiled anew for each commit.
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") \
    env -u SOURCE_DATE_EPOCH cargo build --profile image --locked --target "$triple" --bin sidecloak
  cp "$out/$triple/image/sidecloak" "$out/sidecloak"
  if readelf --program-headers "$out/sidecloak" | grep -q INTERP; then die 'the program is not static'; fi
  "$out/sidecloak" --version
}

# What the image holds, as an archive that is the same for the same program, roots and commit.
filesystem() {
  local tree=$out/rootfs
  rm -rf "$tree" "$tree.tar"
  mkdir -p "$tree"/{etc/sidecloak,etc/ssl/certs,tmp,var/lib/sidecloak}
  cp "$out/sidecloak" "$tree/sidecloak"
  roots >"$tree/etc/ssl/certs/ca-certificates.crt"
  chmod -R u=rwX,go=rX "$tree"
  chmod 1777 "$tree/tmp"
  chmod 0700 "$tree/var/lib/sidecloak"
  local always=(--format=ustar --numeric-owner --no-recursion --mtime="@$SOURCE_DATE_EPOCH" -C "$tree" -f "$tree.tar")
  tar -c "${always[@]}" --owner=0 --group=0 \
    etc etc/sidecloak etc/ssl etc/ssl/certs etc/ssl/certs/ca-certificates.crt sidecloak tmp var var/lib
  tar -r "${always[@]}" --owner=65532 --group=65532 var/lib/sidecloak
}

# Mozilla's roots as the distribution ships them; not those that somebody added to this machine.
roots() {
  if [ -n "${CA_CERTIFICATES:-}" ]; then cat "$CA_CERTIFICATES"; return; fi
  compgen -G '/usr/share/ca-certificates/mozilla/*.crt' >/dev/null ||
    die 'no /usr/share/ca-certificates/mozilla: install ca-certificates, or name a bundle in CA_CERTIFICATES'
  local file
  for file in /usr/share/ca-certificates/mozilla/*.crt; do cat "$file" && echo; done
}

# CycloneDX: the crates by cargo-cyclonedx; sbom.py adds what no crate is, the C library and the roots.
sbom() {
  cargo cyclonedx --version >/dev/null 2>&1 ||
    CARGO_TARGET_DIR=$out/tools cargo install --quiet --locked cargo-cyclonedx
  cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$(uname -m)-unknown-linux-gnu" \
    --no-build-deps --override-filename image-sbom
  python3 deploy/image/sbom.py image-sbom.json "$out/rootfs" >"$out/sidecloak.cdx.json"
  rm -f image-sbom.json
}

image() {
  local engine version revision
  engine=$(engine)
  version=$(cargo pkgid | sed 's/.*[#@]//')
  revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
  [ -z "$(git status --porcelain 2>/dev/null)" ] || revision+=-dirty
  local tag=${TAG:-sidecloak:$version}
  local context=$out/context
  rm -rf "$context"
  mkdir "$context"
  cp deploy/image/Dockerfile "$context/"
  ln "$out/rootfs.tar" "$context/rootfs.tar"
  local options=(--tag "$tag")
  # In OCI's own format an image has no health check.
  case $engine in *podman*) options+=(--format docker --timestamp "$SOURCE_DATE_EPOCH") ;; esac
  # shellcheck disable=SC2086 # ENGINE and its options are words.
  $engine build "${options[@]}" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --build-arg CREATED="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
    --build-arg DESCRIPTION="$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)" \
    --build-arg LICENSES="$(sed -n 's/^license = "\(.*\)"/\1/p' Cargo.toml)" \
    --build-arg SOURCE="${SOURCE_URL:-}" "$context"
  rm -rf "$context"
  echo "built $tag with $engine; program $(stat -c %s "$out/sidecloak") bytes, archive $(stat -c %s "$out/rootfs.tar"), compressed $(gzip -9c "$out/rootfs.tar" | wc -c)"
}

# ENGINE, or whichever answers.
engine() {
  if [ -n "${ENGINE:-}" ]; then echo "$ENGINE"; return; fi
  local name
  for name in podman docker; do
    if command -v "$name" >/dev/null && "$name" info >/dev/null 2>&1; then echo "$name"; return; fi
  done
  die 'neither podman nor docker answers here: set ENGINE, or build only the files with `build.sh files`'
}

main "$@"
