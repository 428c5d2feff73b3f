#!/usr/bin/env bash
# Makes the static library fit to be linked beside anything: one object in which every symbol but the functions of
# capi/include/fabric_gossip.h is local, and what these do not need is left out. Without it the C core in the archive clashes
# with a gRPC of the host's, and Rust's own symbols with those of another Rust library.
#
#   scripts/static.sh <libfabric_gossip.a> <result.a>
set -euo pipefail
archive=$1 result=$2
header=$(dirname "$0")/../capi/include/fabric_gossip.h
if ! ld --version 2>/dev/null | grep -q '^GNU ld' || ! objcopy --version 2>/dev/null | grep -q '^GNU objcopy'; then
    echo "SKIPPED: hiding the static library's symbols, GNU ld and objcopy are not here"
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

grep -oE '\bgossip_[a-z0-9_]+\(' "$header" | tr -d '(' | sort -u >"$dir/functions"
# Groups are dissolved: the linker would take a host's section for one of ours of the same name otherwise.
ld -r --force-group-allocation --gc-sections $(sed 's/^/-u /' "$dir/functions") "$archive" -o "$dir/whole.o"
# The bitcode that Rust's objects bring makes no sense when it is put together, and tools stumble over it.
objcopy --keep-global-symbols="$dir/functions" --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd \
    "$dir/whole.o" "$dir/local.o"
# Some C++ variables are unique in the process by their name, whatever is asked for: they get names of their own.
readelf --syms --wide "$dir/local.o" | awk '$5 == "UNIQUE" && $7 != "UND" { print $8, "fabric" $8 }' | sort -u >"$dir/unique"
objcopy --redefine-syms="$dir/unique" "$dir/local.o" "$dir/fabric_gossip.o"
rm -f "$result"
mkdir -p "$(dirname "$result")"
ar rcs "$result" "$dir/fabric_gossip.o"

left=$(readelf --syms --wide "$dir/fabric_gossip.o" |
    awk '($5 == "GLOBAL" || $5 == "WEAK") && $7 != "UND" { print $8 }' | sort -u)
if [ "$left" != "$(cat "$dir/functions")" ]; then
    echo "static: these differ from the functions of the header:" >&2
    diff "$dir/functions" - <<<"$left" >&2
    exit 1
fi
echo "static: $result exports the header's $(wc -l <"$dir/functions") functions, $(($(stat -c %s "$result") >> 20)) MiB"
