#!/usr/bin/env bash
# Measures the cost of hostile peers (tests/hostile), and prints it as a table in Markdown. Each attack lasts at least
# FABRIC_GOSSIP_HOSTILE_SECONDS, 10 by default.
#
#   scripts/hostile.sh                                       every attack over every transport
#   scripts/hostile.sh --no-default-features --features http2   over HTTP/2 by nghttp2 alone: needs no C core
set -euo pipefail
cd "$(dirname "$0")/.."
export FABRIC_GOSSIP_HOSTILE_SECONDS=${FABRIC_GOSSIP_HOSTILE_SECONDS:-10}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
[ $# -gt 0 ] || set -- --workspace --features host-server,fabric-gossip-cli/c-core
"${CARGO:-cargo}" test --release "$@" --test hostile -- --nocapture --test-threads=1 >"$log" 2>&1 ||
    status=$?
echo "| What hostile peers do | over | so often | peak memory | threads | descriptors | round trip before | during: p50, p99 | after | lost | new peers: slowest |"
echo "|---|---|---|---|---|---|---|---|---|---|---|"
grep '^|' "$log" || true
[ "$status" = 0 ] || grep -vE '^\||^test ' "$log" >&2
exit "$status"
