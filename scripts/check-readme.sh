#!/usr/bin/env bash
# Runs the block "Against a live peer" of README.md as it stands, in an empty folder, and checks what it prints.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath "${CARGO_TARGET_DIR:-target}")
[ -x "$target/release/fabric-gossip" ] || { echo "readme: build the tool first: make build" >&2; exit 1; }
if ! command -v timeout >/dev/null; then
    echo "SKIPPED: the block of README.md, timeout (coreutils) is not installed"
    exit 0
fi
scratch=$(mktemp -d)
running=
# What the block started is in its process group, which goes with it.
finish() {
    [ -z "$running" ] || kill -KILL -- "-$running" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT
sed -n '/^## Against a live peer$/,/^## /p' README.md | sed -n '/^```bash$/,/^```$/p' | sed '1d;$d' >"$scratch/block.sh"
[ -s "$scratch/block.sh" ] || { echo "readme: README.md has no such block" >&2; exit 1; }
ln -s "$target" "$scratch/target"

set -m
(cd "$scratch" && unset "${!CORE_PEER_@}" FABRIC_CFG_PATH && exec timeout 120 bash -euo pipefail block.sh) \
    >"$scratch/out" 2>"$scratch/err" &
running=$!
set +m
status=0
wait "$running" || status=$?
fail() {
    echo "readme: $1" >&2
    cat "$scratch/out" "$scratch/err" >&2
    exit 1
}
[ "$status" -eq 0 ] || fail "the block ended with $status"
# The last command met the peer, and peer0 was not disturbed: nobody replaced its connection or identity.
for wanted in 'Org1MSP' 'peer0.org1.example.com' 'alive'; do
    grep -q "$wanted" "$scratch/out" || fail "the block did not print: $wanted"
done
grep -q '"event":"membership","alive":\[{' "$scratch/try/peer0.log" || fail "peer0 never saw us join"
grep -q '"event":"stopped"' "$scratch/try/peer0.log" || fail "peer0 did not run until it was stopped"
echo "readme: the block against a live peer runs as it stands"
