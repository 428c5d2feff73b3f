#!/usr/bin/env bash
# Runs the tests over the network in memory under ThreadSanitizer. Needs a nightly toolchain with rust-src: the standard
# library is built anew, because an uninstrumented one hides what orders its accesses.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
if ! sysroot=$(rustc +nightly --print sysroot 2>/dev/null) || [ ! -d "$sysroot/lib/rustlib/src/rust" ] ||
    [ "$(rustc -vV | sed -n 's/^host: //p')" != $target ]; then
    echo "SKIPPED: ThreadSanitizer, needs $target and a nightly toolchain with rust-src (rustup component add rust-src --toolchain nightly)"
    exit 0
fi
# A report is a failure. Fewer seeds than otherwise: it is many times slower.
export TSAN_OPTIONS="exitcode=66" FABRIC_GOSSIP_FAULT_SEEDS="${FABRIC_GOSSIP_FAULT_SEEDS:-50}"
export RUSTFLAGS="-Zsanitizer=thread" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan"
cargo +nightly test -Zbuild-std --target $target --release --no-default-features \
    --test comm_messages --test faults "$@"
