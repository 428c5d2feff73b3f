#!/usr/bin/env bash
# Runs tests/shuttle: the library under a model checker that schedules its threads. Its locks, channels and sockets are
# others then, so that it is built apart, without gRPC's C core.
#
#   scripts/shuttle.sh                  every test
#   scripts/shuttle.sh peers::simul     some; further arguments go to the test program too
#
# FABRIC_GOSSIP_SHUTTLE_RUNS      schedules for each test and scheduler (300)
# FABRIC_GOSSIP_SHUTTLE_SEED      which ones (1)
# FABRIC_GOSSIP_SHUTTLE_SCHEDULE  repeats one: the text that a failing test printed, or a file with it
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/shuttle"
export SHUTTLE_SILENCE_WARNINGS=1
"${CARGO:-cargo}" test --release --no-default-features --features http2 --test shuttle -- "$@"
