#!/usr/bin/env bash
# Checks the statements of docs/c-interface.md about fork, signals and exit against the library.
#
#   scripts/capi-process.sh FOLDER    FOLDER has libfabric_gossip.so
set -euo pipefail
library=$(realpath "${1:?the folder of the library}")
cd "$(dirname "$0")/.."
. scripts/skip.sh
tool=$(realpath "${CARGO_TARGET_DIR:-target}")/release/fabric-gossip
compiler=${CC:-cc}

if ! command -v "$compiler" >/dev/null || [ ! -e /proc/self/exe ]; then
    skip "fork, signals and exit" "$compiler or /proc is missing"
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$tool" crypto "$scratch/orgs" --orgs 1 --peers 2 >/dev/null
"$compiler" -std=c11 -g -Wall -Wextra -Wpedantic -Werror -Icapi/include capi/tests/process.c -L"$library" -lfabric_gossip \
    -pthread -o "$scratch/process"
LD_LIBRARY_PATH=$library timeout 300 "$scratch/process" "$scratch/orgs"
