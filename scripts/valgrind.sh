#!/usr/bin/env bash
# Runs examples/two_peers, two peers over gRPC with mutual TLS, under Valgrind: an invalid access, a use of what was never
# set, or a block that nothing points to any more is a failure. What is not ours is in scripts/valgrind.supp, each with the
# reason.
#
#   scripts/valgrind.sh --gen-suppressions=all   further arguments go to Valgrind
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: Valgrind is not installed"
    exit 0
fi
"${CARGO:-cargo}" build --quiet --release --features cli,host-server --example two_peers
valgrind --error-exitcode=66 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --num-callers=30 --suppressions=scripts/valgrind.supp "$@" "${CARGO_TARGET_DIR:-target}/release/examples/two_peers"
