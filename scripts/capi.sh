#!/usr/bin/env bash
# The C interface, from outside: builds the shared and the static library, holds their symbols against the header, compiles
# the examples and the tests with warnings as errors, and runs them, those in C++ and Python too. The libraries are left
# behind, the static one as it is to be installed: target/release/libfabric_gossip.so, target/release/capi/libfabric_gossip.a.
#
#   scripts/capi.sh             the programs that `make test` runs
#   scripts/capi.sh sanitize    every program under AddressSanitizer and UndefinedBehaviorSanitizer, then under Valgrind
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
cargo=${CARGO:-cargo}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
header=capi/include/fabric_gossip.h
# Other libraries that the static library needs: `cargo rustc ... -- --print native-static-libs`.
static_libs="-lssl -lcrypto -lstdc++ -lm -ldl -lpthread"
examples="two_peers poll node"
tests="null misuse transports callbacks reentry threads host_crypto cycles"

if ! command -v "${CC:-cc}" >/dev/null; then
    skip "the C interface" "there is no C compiler"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() {
    # By itself: together with other packages it would get the features of the library that these turn on.
    $cargo build --release -p fabric-gossip-capi
    # With the features of the test run, which needs it too.
    $cargo build --release --workspace --features host-server,fabric-gossip-cli/c-core --bin fabric-gossip
    "$target/fabric-gossip" crypto --orgs 2 --peers 3 "$work/orgs" >/dev/null
    # As it is installed: with nothing to be seen but the header's functions.
    static=$target/capi/libfabric_gossip.a
    $cargo xtask symbols hide "$target/libfabric_gossip.a" "$static"
    [ -f "$static" ] || static=$target/libfabric_gossip.a
    awk -f capi/tests/null.awk "$header" >"$work/null_calls.h"
}

# The header by itself, in other dialects too.
check_header() {
    for cc in gcc clang; do
        command -v $cc >/dev/null || continue
        for standard in c11 c17; do
            $cc -std=$standard -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c "$header"
        done
    done
    for cxx in g++ clang++; do
        command -v $cxx >/dev/null || continue
        $cxx -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ "$header"
    done
    echo "capi: the header stands alone in C11, C17 and C++17"
}

# compile COMPILER KIND PROGRAM [FLAG...]: into $work/PROGRAM.
compile() {
    local cc=$1 kind=$2 program=$3 source libraries
    shift 3
    source=capi/examples/c/$program.c
    [ -e "$source" ] || source=capi/tests/$program.c
    libraries="-L$target -lfabric_gossip -Wl,-rpath,$target"
    [ "$kind" = shared ] || libraries="$static $static_libs"
    # shellcheck disable=SC2086
    $cc -std=c11 -O1 -g -Wall -Wextra -Wpedantic -Werror -Icapi/include -I"$work" "$@" "$source" $libraries -lpthread \
        -o "$work/$program"
}

# run PROGRAM [WRAPPER...]: an example must print the text stated at its head.
run() {
    local program=$1
    shift
    if [ -e "capi/examples/c/$program.c" ]; then
        printf 'one\ntwo\n' | "$@" "$work/$program" "$work/orgs" | $cargo xtask prints "capi/examples/c/$program.c"
    else
        "$@" "$work/$program" "$work/orgs"
    fi
}

sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
export UBSAN_OPTIONS=print_stacktrace=1

# Whether the compiler has the sanitizers' libraries.
can_sanitize() {
    # shellcheck disable=SC2086
    echo 'int main(void) { return 0; }' | ${CC:-cc} $sanitizers -x c - -o "$work/probe" 2>/dev/null && "$work/probe"
}

check() {
    $cargo xtask header --check
    build
    $cargo xtask symbols exported "$target/libfabric_gossip.so"
    check_header
    for program in $examples $tests; do
        compile "${CC:-cc}" shared "$program"
        run "$program"
    done
    echo "capi: the examples and tests pass with the shared library"
    for program in $examples null misuse; do
        compile "${CC:-cc}" static "$program"
        run "$program"
    done
    echo "capi: the examples and two of the tests pass with the static library"
    scripts/capi-hosts.sh "$target" "$static" "$work/orgs/peerOrganizations/org1.example.com"
    $cargo xtask snippets "$target"
    for step in process cpp python; do
        scripts/capi-$step.sh "$target"
    done
    if command -v clang >/dev/null; then
        for program in $examples $tests; do compile clang shared "$program"; done
        echo "capi: clang compiles them too"
    fi
    if can_sanitize; then
        for program in two_peers poll null; do
            # shellcheck disable=SC2086
            compile "${CC:-cc}" shared "$program" $sanitizers
            run "$program"
        done
        echo "capi: two_peers, poll and null pass under AddressSanitizer, without a leak"
    else
        skip "the C programs under AddressSanitizer" "the compiler has no library for it"
    fi
}

sanitize() {
    build
    export CYCLES=1000
    if can_sanitize; then
        for program in $examples $tests; do
            # shellcheck disable=SC2086
            compile "${CC:-cc}" shared "$program" $sanitizers
            run "$program"
            echo "capi: $program passes under AddressSanitizer, without a leak"
        done
    else
        skip "the C programs under AddressSanitizer" "the compiler has no library for it"
    fi
    if command -v valgrind >/dev/null; then
        for program in $examples $tests; do
            compile "${CC:-cc}" shared "$program" -DSANITIZED=1
            run "$program" valgrind --quiet --error-exitcode=66 --leak-check=full --num-callers=30 --fair-sched=yes \
                --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
                --suppressions=scripts/valgrind.supp
            echo "capi: $program passes under Valgrind, nothing lost"
        done
    else
        skip "the C programs under Valgrind" "it is not installed"
    fi
}

case ${1:-check} in
check) check ;;
sanitize) sanitize ;;
*) echo "usage: scripts/capi.sh [check | sanitize]" >&2 && exit 2 ;;
esac
