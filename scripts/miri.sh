#!/usr/bin/env bash
# Runs the unit tests of the parts without foreign code under Miri. Excluded are the parts that call OpenSSL (Miri interprets
# Rust only) and those that start threads around it: the MSP, the handshake, the transports.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    skip "Miri" "it is not installed (rustup component add miri rust-src --toolchain nightly)"
    exit 0
fi
# The clocks are the machine's: no test depends on their values.
export MIRIFLAGS="${MIRIFLAGS:--Zmiri-disable-isolation}" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri"
cargo +nightly miri test --no-default-features --lib -- "$@" \
    cancel:: clock:: comm::ack comm::conn_store comm::demux comm::outbox comm::admission config:: error:: metrics random:: \
    msp::der msp::names msp::pem msp::serialized
