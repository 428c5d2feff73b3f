#!/usr/bin/env bash
# Links the C interface into a host with its own OpenSSL, and into one with its own gRPC C core too, by its shared
# and by its static library, and runs them (capi/tests/beside.c).
#
#   scripts/capi-hosts.sh <folder of libfabric_gossip.so> <libfabric_gossip.a of cargo xtask symbols hide> <organisation's folder>
set -euo pipefail
. "$(dirname "$0")/skip.sh"
shared=$1 static=$2 org=$3
source=$(dirname "$0")/../capi/tests/beside.c
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(-std=c11 -Wall -Wextra -Wpedantic -Werror -O1 -pthread "-I$(dirname "$0")/../capi/include")
system=(-lssl -lcrypto -lstdc++ -lm)

run() { # <name> <flags and libraries of the host> …
    local name=$1
    shift
    cc "${flags[@]}" "$source" -o "$out/shared" "$@" "-L$shared" -lfabric_gossip "${system[@]}"
    echo "capi: $name, shared: $(LD_LIBRARY_PATH=$shared "$out/shared" "$org")"
    if [ -f "$static" ]; then
        cc "${flags[@]}" "$source" -o "$out/static" "$@" "$static" "${system[@]}"
        echo "capi: $name, static: $("$out/static" "$org")"
    else
        skip "$name, static" "there is no $static"
    fi
}

run "a host with OpenSSL"

# The C core that the host brings is the one that grpcio-sys built for us: the same names, the worst case.
core=$(grep -ls 'rustc-link-lib=static=grpc$' "$shared"/build/grpcio-sys-*/output | tail -1 || true)
if [ -z "$core" ]; then
    skip "a host with its own gRPC" "there is no other C core here to link"
    exit 0
fi
mapfile -t libraries < <(sed -n 's/^cargo:rustc-link-lib=static=/-l/p' "$core" | grep -v grpc_wrap | sort -u)
mapfile -t paths < <(sed -n 's/^cargo:rustc-link-search=native=/-L/p' "$core" | sort -u)
run "a host with OpenSSL and gRPC" -DHOST_GRPC "${paths[@]}" -Wl,--start-group "${libraries[@]}" -Wl,--end-group
