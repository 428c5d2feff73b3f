#!/usr/bin/env bash
# Compiles the C++ header, its test and its example against the library, and runs them, under the address sanitizer if the
# compiler has one.
#
#   scripts/capi-cpp.sh FOLDER    FOLDER has libfabric_gossip.so
set -euo pipefail
library=$(realpath "${1:?the folder of the library}")
cd "$(dirname "$0")/.."
. scripts/skip.sh
tool=$(realpath "${CARGO_TARGET_DIR:-target}")/release/fabric-gossip
compiler=${CXX:-c++} cargo=${CARGO:-cargo}

if ! command -v "$compiler" >/dev/null; then
    skip "the C++ header" "$compiler is not installed"
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The C++ header must use every function of the C header. (gossip_event_message is gossip_event_message_at of 0.)
functions=$(grep -oE '\bgossip_[a-z0-9_]+\(' capi/include/fabric_gossip.h | tr -d '(' | sort -u)
for function in $functions; do
    if ! grep -qw "$function" capi/include/fabric_gossip.hpp && [ "$function" != gossip_event_message ]; then
        echo "capi: capi/include/fabric_gossip.hpp makes no use of $function" >&2
        exit 1
    fi
done

strict=(-Wall -Wextra -Wpedantic -Wshadow -Werror -Icapi/include)
for standard in 17 20; do
    "$compiler" -std=c++$standard "${strict[@]}" -x c++ -fsyntax-only - <<<'#include "fabric_gossip.hpp"'
done
sanitizer=()
if "$compiler" -fsanitize=address,undefined -x c++ -o "$scratch/try" - <<<'int main() {}' 2>/dev/null; then
    sanitizer=(-fsanitize=address,undefined -fno-sanitize-recover=undefined)
else
    skip "the address sanitizer for C++" "$compiler has none"
fi
"$tool" crypto "$scratch/orgs" --orgs 1 --peers 2 >/dev/null
export LD_LIBRARY_PATH=$library
for source in capi/tests/*.cpp capi/examples/cpp/*.cpp; do
    program=$scratch/$(basename "$source" .cpp)
    "$compiler" -std=c++17 -g "${strict[@]}" ${sanitizer[@]+"${sanitizer[@]}"} "$source" -L"$library" -lfabric_gossip \
        -pthread -o "$program"
    timeout 120 "$program" "$scratch/orgs" >"$program.out"
    case $source in
    */test_*) echo "capi: $source passes" ;;
    *) $cargo xtask prints "$source" <"$program.out" ;;
    esac
done
