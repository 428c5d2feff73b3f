#!/usr/bin/env bash
# Runs every example and compares what it prints with the `text` block at its head.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
programs=${CARGO_TARGET_DIR:-target}/release/examples

$cargo build --release --workspace --features host-server --examples
for file in examples/*.rs; do
    name=$(basename "$file" .rs)
    said=$(sed -n '/^\/\/! ```text$/,/^\/\/! ```$/p' "$file" | sed -e '1d;$d' -e 's/^\/\/! \{0,1\}//')
    printed=$("$programs/$name")
    if ! diff <(echo "$said") <(echo "$printed"); then
        echo "examples: $name does not print what it says (< said, > printed)" >&2
        exit 1
    fi
    echo "examples: $name prints what it says"
done
