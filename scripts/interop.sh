#!/usr/bin/env bash
# Runs grpc-go's interoperability cases and h2spec against the HTTP/2 transport (tests/interop). Needs Go and its modules.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
if ! command -v go >/dev/null; then
    skip "interoperability with grpc-go" "Go is not installed"
    exit 0
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# Nothing but missing Go modules (or an older Go that cannot fetch the required one) makes this step fail.
if ! (cd tests/interop && go mod download) >"$out/download" 2>&1; then
    skip "interoperability with grpc-go" "its Go modules cannot be fetched: $(tail -n 1 "$out/download")"
    exit 0
fi
target=${CARGO_TARGET_DIR:-target}
"${CARGO:-cargo}" build --release --no-default-features --features http2 --example interop
(cd tests/interop && go build -o "$out/interop" .)
"$out/interop" "$target/release/examples/interop" tests/interop/h2spec.txt
