#!/usr/bin/env bash
# Generates capi/include/fabric_gossip.h from capi/src, or checks that it is what would be generated.
#
#   scripts/header.sh           generate
#   scripts/header.sh --check   compare, and fail if it differs
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
version=0.29.4
root=${CARGO_TARGET_DIR:-target}/tools
cbindgen=$root/bin/cbindgen

# Pinned, since what it prints changes from release to release. Without optimisation: it is built for one short run.
if [ "$($cbindgen --version 2>/dev/null)" != "cbindgen $version" ]; then
    if ! $cargo install cbindgen --version "$version" --locked --debug --quiet --root "$root" >&2; then
        echo "SKIPPED: the header's check, cbindgen $version could not be installed"
        exit 0
    fi
fi
# Dependencies and features are of no concern to it: it reads capi/src and nothing else.
generate() { $cbindgen --quiet --config capi/cbindgen.toml --output "$1" capi/src/lib.rs; }
if [ "${1:-}" != --check ]; then
    generate capi/include/fabric_gossip.h
    exit
fi
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
generate "$fresh"
if ! diff capi/include/fabric_gossip.h "$fresh" >&2; then
    echo "header: capi/include/fabric_gossip.h is not what capi/src gives: run scripts/header.sh" >&2
    exit 1
fi
echo "header: capi/include/fabric_gossip.h is what capi/src gives"
