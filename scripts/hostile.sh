#!/usr/bin/env bash
# Measures the cost of hostile peers (tests/hostile), and prints it as a table in Markdown. Each attack lasts at least
# FABRIC_GOSSIP_HOSTILE_SECONDS, 10 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
export FABRIC_GOSSIP_HOSTILE_SECONDS=${FABRIC_GOSSIP_HOSTILE_SECONDS:-10}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
"${CARGO:-cargo}" test --release --workspace --features host-server,fabric-gossip-cli/c-core --test hostile -- --nocapture --test-threads=1 >"$log" 2>&1 ||
    status=$?
echo "| What hostile peers do | so often | peak memory | threads | descriptors | round trip before | during: p50, p99 | after | lost |"
echo "|---|---|---|---|---|---|---|---|---|"
grep '^|' "$log" || true
[ "$status" = 0 ] || grep -vE '^\||^test ' "$log" >&2
exit "$status"
