#!/usr/bin/env bash
# Streams a long body through the release binary each way and prints its resident memory meanwhile; see README.md.
# `./memory.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "$0")/../.."
case " $* " in
*" --help "* | *" -h "* | *" --binary"*) ;;
*) cargo build --release --locked --bin sidecloak >&2 ;;
esac
exec python3 tests/bench/memory.py "$@"
