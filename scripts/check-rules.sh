#!/usr/bin/env bash
# The rules of the house that no compiler checks. See CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
failed=0

# No async runtime, and nothing that drives futures, among what the library, the tool and the C interface are built from.
# (The feature host-server brings what grpcio drives its futures with.)
packages=$($cargo tree --edges normal --workspace --prefix none --format '{p}')
if found=$(awk '{ print $1 }' <<<"$packages" | sort -u | grep -xE 'tokio|async-std|smol|async-executor|futures-executor'); then
    echo "rules: an async runtime is among the dependencies:" $found >&2
    failed=1
else
    echo "rules: no async runtime among $(sort -u <<<"$packages" | wc -l) packages"
fi

# Unsafe code stays in src/rpc and capi/src. (The compiler denies it elsewhere; this finds an exception that was let in.)
if found=$(grep -rnE '\bunsafe\b|allow\(unsafe_code\)' src cli/src capi/src --include='*.rs' |
    grep -vE '^(src/rpc|capi/src)/|:[0-9]+: *//'); then
    echo "rules: unsafe code outside src/rpc and capi/src:" >&2
    echo "$found" >&2
    failed=1
else
    echo "rules: unsafe code in src/rpc and capi/src only"
fi

# Every dependency builds with the Rust version that Cargo.toml promises. (Clippy holds our own code to it.)
ours=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
newer=$($cargo metadata --format-version 1 --features host-server --locked |
    grep -oE '"rust_version":"[0-9.]+"' | grep -oE '[0-9.]+' | sort -uV | tail -1)
if [ "$(printf '%s\n%s\n' "${ours}.0" "$newer" | sort -V | tail -1)" != "${ours}.0" ]; then
    echo "rules: a dependency needs Rust $newer, Cargo.toml promises $ours" >&2
    failed=1
else
    echo "rules: all dependencies build with Rust $ours"
fi

exit $failed
