#!/usr/bin/env bash
# Compiles every `c` block of docs/c-interface.md, and runs those that are whole programs: built with the guide's own `cc`
# lines, without LD_LIBRARY_PATH, once as they should work and once so that they fail and print the library's error.
#
#   scripts/capi-snippets.sh FOLDER    FOLDER has libfabric_gossip.so
#
# A block with a main is a program. One that starts with `static` is put behind the prelude below. Any other is statements,
# and is put into a function behind it.
set -euo pipefail
library=$(realpath "${1:?the folder of the library}")
cd "$(dirname "$0")/.."
tool=$(realpath "${CARGO_TARGET_DIR:-target}")/release/fabric-gossip
compiler=${CC:-cc}
document=docs/c-interface.md

if ! command -v "$compiler" >/dev/null; then
    echo "SKIPPED: the snippets of $document, $compiler is missing"
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/prelude.h" <<'PRELUDE'
#include <fabric_gossip.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
extern const gossip_crypto *crypto;
extern const gossip_config *config;
extern gossip_comm *comm;
extern gossip_node *node;
extern gossip_subscription *inbox;
extern gossip_message *message;
extern gossip_peer peer, peers[];
extern size_t peer_count;
extern int server;
void handle(const gossip_event *event);
void serve(int server);
bool hsm_sign(void *hsm, const uint8_t *digest, size_t length, uint8_t *signature, size_t room);
PRELUDE
# The guide's commands see the folders that they name.
mkdir -p "$scratch/guide/target" "$scratch/guide/capi"
ln -s "$PWD/capi/include" "$scratch/guide/capi/include"
ln -s "$library" "$scratch/guide/target/release"
sed -n '/^cc .*peer\.c/s/ *# .*//p' "$document" >"$scratch/links"
[ "$(wc -l <"$scratch/links")" -eq 2 ] || { echo "snippets: $document does not have its two ways to link" >&2; exit 1; }
unset LD_LIBRARY_PATH

# run_program FOLDER COMMAND: builds peer.c as the guide says, and runs it.
run_program() {
    local peers=$1/peerOrganizations/org1.example.com/peers printed status
    (cd "$scratch/guide" && rm -f peer && sh -c "$2")
    printed=$(timeout 60 "$scratch/guide/peer" "$peers"/*)
    [ "$printed" = "received hello" ] || { echo "snippets: a program printed: $printed" >&2; exit 1; }
    status=0
    printed=$(timeout 60 "$scratch/guide/peer" "$scratch/nobody" "$scratch/nobody" 2>&1) || status=$?
    case $status,$printed in
    1,"GOSSIP_CONFIG: "*"$scratch/nobody/msp"*) ;;
    *) echo "snippets: a program that has to fail ended with $status and printed: $printed" >&2 && exit 1 ;;
    esac
}
awk -v to="$scratch" '/^```c$/ { file = sprintf("%s/%02d.c", to, ++n); next } /^```$/ { file = "" }
    file { print > file }' "$document"

strict=(-std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -Icapi/include)
count=0 ran=0
for block in "$scratch"/[0-9]*.c; do
    count=$((count + 1))
    if grep -q '^int main' "$block"; then
        "$compiler" "${strict[@]}" -fsyntax-only "$block"
        "$tool" crypto "$scratch/orgs$count" --orgs 1 --peers 2 >/dev/null
        cp "$block" "$scratch/guide/peer.c"
        while read -r link; do run_program "$scratch/orgs$count" "$link"; done <"$scratch/links"
        ran=$((ran + 1))
        continue
    fi
    if ! head -1 "$block" | grep -q '^static'; then
        # What a snippet declares and leaves for the reader to use is no fault of it.
        { echo "void snippet(gossip_error *error);"
          echo "void snippet(gossip_error *error) {"; echo "(void)error;"; echo "{"; cat "$block"; echo "}}"; } >"$block.in"
        mv "$block.in" "$block"
    fi
    "$compiler" "${strict[@]}" -Wno-unused-variable -Wno-unused-but-set-variable -Wno-unused-function \
        -include "$scratch/prelude.h" -c "$block" -o "$scratch/block.o" || { cat -n "$block" >&2; exit 1; }
done
[ "$ran" -gt 0 ] || { echo "snippets: no program was found" >&2; exit 1; }
echo "snippets: $count blocks of $document compile, $ran of them ran, linked in both ways, and fail with the reason"
