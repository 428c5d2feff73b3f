#!/usr/bin/env bash
# Runs the tests over the network in memory and those of the HTTP/2 transport under a sanitizer of a nightly toolchain.
# nghttp2 is compiled with the same sanitizer; CC names another compiler than cc. OpenSSL is the system's, and is not
# instrumented.
#
#   scripts/sanitize.sh                    ThreadSanitizer. Needs rust-src too: the standard library is built anew, because
#                                          an uninstrumented one hides the ordering of its accesses.
#   scripts/sanitize.sh address            AddressSanitizer, with its search for leaks
#   scripts/sanitize.sh address --test X   some tests: everything further goes to cargo test
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
sanitizer=thread
case "${1:-}" in
    thread | address)
        sanitizer=$1
        shift
        ;;
esac
target=x86_64-unknown-linux-gnu
std=()
[ $sanitizer = address ] || std=(-Zbuild-std)
if ! sysroot=$(rustc +nightly --print sysroot 2>/dev/null) || [ "$(rustc -vV | sed -n 's/^host: //p')" != $target ]; then
    skip "sanitizer $sanitizer" "it needs $target and a nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi
if [ ${#std[@]} -gt 0 ] && [ ! -d "$sysroot/lib/rustlib/src/rust" ]; then
    skip "sanitizer $sanitizer" "it needs rust-src (rustup component add rust-src --toolchain nightly)"
    exit 0
fi
# A report is a failure. Fewer seeds than otherwise: it is many times slower.
export TSAN_OPTIONS="exitcode=66:suppressions=$PWD/scripts/tsan.supp" ASAN_OPTIONS="exitcode=66:detect_leaks=1"
export FABRIC_GOSSIP_FAULT_SEEDS="${FABRIC_GOSSIP_FAULT_SEEDS:-50}"
export CFLAGS_x86_64_unknown_linux_gnu="-fsanitize=$sanitizer -fno-omit-frame-pointer -g"
export RUSTFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitizer-$sanitizer"
# Without the tests of the footprint: the sanitizers keep memory of their own.
[ $# -gt 0 ] || set -- --test comm --test faults --test transport -- messages:: stop:: whatever_happens http2:: --skip footprint
cargo +nightly test "${std[@]}" --target $target --release --no-default-features --features http2 "$@"
