#!/usr/bin/env bash
# Makes the two images that compose.yaml takes from a registry, out of the packages of this machine's Debian or Ubuntu and
# under the same names, where no registry can be reached: postgres:VERSION and python:VERSION-slim, or the one that is named.
# Prints the versions.
set -euo pipefail
cd "$(dirname "$0")"
engine=${ENGINE:-docker}
work=$(realpath -m ../../target/compose)
mkdir -p "$work/packages"

main() {
  case ${1:-both} in
    both)
      postgres
      python
      ;;
    postgres | python) "$1" ;;
    *) echo "usage: $0 [postgres | python]" >&2 && exit 1 ;;
  esac
}

postgres() {
  local version
  version=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p')
  root postgres "postgresql-$version" bash coreutils grep sed findutils libc-bin tzdata
  mkdir -p "$root"/docker-entrypoint-initdb.d "$root/var/lib/postgresql/data" "$root/var/run/postgresql"
  cp images/postgres-entrypoint.sh "$root/usr/local/bin/docker-entrypoint.sh"
  ln -sf bash "$root/usr/bin/sh"
  echo 'postgres:x:999:999::/var/lib/postgresql:/bin/bash' >>"$root/etc/passwd"
  echo 'postgres:x:999:' >>"$root/etc/group"
  build "postgres:$version" <<END
FROM scratch
COPY --chown=0:0 root /
COPY --chown=999:999 root/var/lib/postgresql /var/lib/postgresql
ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/lib/postgresql/$version/bin
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["docker-entrypoint.sh"]
END
  echo "POSTGRES_VERSION=$version"
}

python() {
  local version
  version=$(apt-cache depends python3-minimal | sed -n 's/.*Depends: python\(3\.[0-9]*\)-minimal$/\1/p')
  root python "python$version-minimal" python3-minimal "libpython$version-stdlib" libc-bin
  build "python:$version-slim" <<END
FROM scratch
COPY --chown=0:0 root /
ENV PATH=/usr/local/bin:/usr/bin:/bin
CMD ["python3"]
END
  echo "PYTHON_VERSION=$version"
}

# What packages ask for and nothing here runs: the compiler of PostgreSQL's queries, and what sets packages up.
unneeded='libllvm.*|libz3.*|perl.*|libperl.*|lib.*-perl|adduser|debconf|dpkg|init-system-helpers|libc-l10n|locales|media-types|openssl|passwd|postgresql-common|postgresql-client-common|sensible-utils|ssl-cert|sysvinit-utils|tar|ucf|usrmerge'

# root NAME PACKAGE…: the packages with what they need, unpacked, and no script of theirs run.
root() {
  local name=$1 all package
  shift
  root=$work/$name/root
  rm -rf "${work:?}/$name"
  mkdir -p "$root"/usr/{bin,sbin,lib,lib64,local/bin} "$root"/{etc,root,tmp,var}
  # Where these directories are one, some packages still write to the old name.
  ln -s usr/bin "$root/bin" && ln -s usr/sbin "$root/sbin" && ln -s usr/lib "$root/lib" && ln -s usr/lib64 "$root/lib64"
  chmod 1777 "$root/tmp"
  # As on a machine that has nothing installed.
  all=$(apt-get install --simulate -o Dir::State::status=/dev/null --no-install-recommends "$@" |
    sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep -vxE "$unneeded")
  # shellcheck disable=SC2086 # They are words.
  (cd "$work/packages" && apt-get download -qq -o APT::Sandbox::User=root $all)
  for package in $all; do
    for package in "$work/packages/${package%%:*}"_*.deb; do
      dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink --no-same-owner \
        --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*'
    done
  done
  echo 'root:x:0:0::/root:/bin/bash' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
}

# build NAME: of the root made last, by the Dockerfile on standard input.
build() {
  cat >"$root/../Dockerfile"
  $engine build --quiet --tag "$1" "$root/.." >&2
  rm -rf "$(dirname "$root")"
}

main "$@"
