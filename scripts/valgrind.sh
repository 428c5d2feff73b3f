#!/usr/bin/env bash
# Runs tests of the communication layer over the C core, and of the HTTP/2 transport, under Valgrind: an invalid access, a use of uninitialised
# memory, or a block without any pointer to it after the stop is a failure. Findings in other software are in
# scripts/valgrind.supp, with the reasons.
#
#   scripts/valgrind.sh                a few tests over each transport
#   scripts/valgrind.sh http2          a few tests over HTTP/2 by nghttp2, built without the C core
#   scripts/valgrind.sh node grpc::    tests of another program, by the names that its own filter takes
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
if ! command -v valgrind >/dev/null; then
    skip "Valgrind" "it is not installed"
    exit 0
fi
# Builds a test program with the features in "${features[@]}" and runs the tests that are named.
check() {
    local program=$1 built
    shift
    built=$("${CARGO:-cargo}" test --release "${features[@]}" --test "$program" --no-run 2>&1 | tee /dev/stderr |
        sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
    valgrind --error-exitcode=66 --leak-check=full --show-leak-kinds=definite,indirect \
        --errors-for-leak-kinds=definite,indirect --num-callers=30 --fair-sched=yes \
        --suppressions=scripts/valgrind.supp ${VALGRIND_FLAGS:-} "$built" --test-threads 1 "$@"
}

over_http2() {
    features=(--no-default-features --features http2)
    check transport suite::http2 http2::messages http2::ends http2::tls
}

features=(--workspace --features host-server,fabric-gossip-cli/c-core)
case "${1:-}" in
    http2) over_http2 ;;
    "")
        over_http2
        features=(--workspace --features host-server,fabric-gossip-cli/c-core)
        check comm messages::grpc::c18 messages::grpc::c20 messages::grpc::c21 messages::grpc::c28 messages::grpc::c30 \
            messages::grpc::one_message
        ;;
    *) check "$@" ;;
esac
