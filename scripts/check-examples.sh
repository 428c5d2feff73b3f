#!/usr/bin/env bash
# Runs every example and compares what it prints with the `text` block at its head.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

$cargo build --release --features cli,host-server,capi --examples
for file in examples/*.rs; do
    name=$(basename "$file" .rs)
    said=$(sed -n '/^\/\/! ```text$/,/^\/\/! ```$/p' "$file" | sed -e '1d;$d' -e 's/^\/\/! \{0,1\}//')
    printed=$($cargo run --quiet --release --features cli,host-server,capi --example "$name")
    if ! diff <(echo "$said") <(echo "$printed"); then
        echo "examples: $name does not print what it says (< said, > printed)" >&2
        exit 1
    fi
    echo "examples: $name prints what it says"
done
