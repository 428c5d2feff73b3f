#!/usr/bin/env bash
# Runs tests of the communication layer over gRPC, with mutual TLS, under Valgrind: an invalid access, a use of uninitialised
# memory, or a block without any pointer to it after the stop is a failure. Findings in other software are in
# scripts/valgrind.supp, with the reasons.
#
#   scripts/valgrind.sh                    a few tests of messages
#   scripts/valgrind.sh node grpc::   tests of another program, by the names that its own filter takes
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
if ! command -v valgrind >/dev/null; then
    skip "Valgrind" "it is not installed"
    exit 0
fi
[ $# -gt 0 ] || set -- comm messages::grpc::c18 messages::grpc::c20 messages::grpc::c21 messages::grpc::c28 messages::grpc::c30 \
    messages::grpc::one_message
program=$1
shift
"${CARGO:-cargo}" test --release --workspace --features host-server,fabric-gossip-cli/c-core --test "$program" --no-run
built=$(ls -t "${CARGO_TARGET_DIR:-target}/release/deps/$program"-* | grep -v '\.d$' | head -1)
valgrind --error-exitcode=66 --leak-check=full --show-leak-kinds=definite,indirect \
    --errors-for-leak-kinds=definite,indirect --num-callers=30 --fair-sched=yes \
    --suppressions=scripts/valgrind.supp ${VALGRIND_FLAGS:-} "$built" --test-threads 1 "$@"
