#!/usr/bin/env bash
# Runs the tool and an embedding program with too few threads and file descriptors, up to enough of them: each has to work,
# or to end with exit code 1 or 2 and a message that names the limit. None may hang, end by a signal, or spin.
set -euo pipefail
cd "$(dirname "$0")/.."

# LIMITS_FROM: a folder with other builds of the two programs. VERBOSE: print every verdict.
release=${LIMITS_FROM:-${CARGO_TARGET_DIR:-target}/release}
# The demonstration goes on after a step that failed, until each has reached its time limit, so it has fewer values.
threads=(4 8 10 12 13 14 15 16 17 18 20 22 24 32 64) threads_of_demo=(8 13 16 64)
descriptors=(5 6 8 10 11 12 13 14 15 16 18 20 24 64) descriptors_of_demo=(6 12 64)
runs=(peer listen send two_peers)
# The first of the user ids for the runs under a limit of threads, one for each, since the system counts threads by user.
USERS=60000
# Seconds: a command that does not end by itself gets SIGTERM after RUN; none may take longer than LONG, or use as much
# processor time as BUSY.
RUN=2 LONG=60 BUSY=8

dir=$(mktemp -d)
listener=
finish() {
    [ -z "$listener" ] || kill "$listener" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
# Other users have to reach the programs, and the temporary folder that these write to.
cp "$release/fabric-gossip" "$release/examples/two_peers" "$dir"
tool=$dir/fabric-gossip
"$tool" crypto "$dir/crypto" --peers 160 >/dev/null
mkdir -m 1777 "$dir/tmp"
chmod -R a+rX "$dir"
org=$dir/crypto/peerOrganizations/org1.example.com
identity() {
    echo "--msp $org/peers/peer$1.org1.example.com/msp --mspid Org1MSP --tls-ca $org/tlsca/tlsca.org1.example.com-cert.pem"
}

# The peer that `send` sends to, without a limit.
# shellcheck disable=SC2046
"$tool" listen --json --ack --listen 127.0.0.1:0 $(identity 0) >"$dir/listener" 2>&1 &
listener=$!
for _ in $(seq 200); do
    endpoint=$(sed -n 's/.*"listening".*"endpoint":"\([^"]*\)".*/\1/p' "$dir/listener")
    [ -n "$endpoint" ] && break
    sleep 0.05
done
[ -n "$endpoint" ] || { cat "$dir/listener"; echo "the listener did not start"; exit 1; }

# one OPTION VALUE NUMBER RUN: runs something under `ulimit OPTION VALUE`, with the identity of this number, and prints the
# verdict.
one() {
    local option=$1 value=$2 number=$3 run=$4 name="$4 under ulimit $1 $2" at=$dir/tmp/$4$1$2
    local -a outside=(timeout --foreground -k 5 "$LONG") command
    # shellcheck disable=SC2207
    case $run in
        demo) command=("$tool" demo) ;;
        two_peers) command=("$dir/two_peers") ;;
        send) command=("$tool" send --ack "$endpoint" $(identity "$number")) ;;
        listen | peer)
            outside=(timeout --foreground --preserve-status -k "$LONG" "$RUN")
            command=("$tool" "$run" --listen 127.0.0.1:0 $(identity "$number"))
            ;;
    esac
    # The limit of threads is one of the user's, and does not hold for root.
    local user=$((USERS + number))
    [ "$option" != -u ] || outside+=(setpriv --reuid=$user --regid=$user --clear-groups)
    local code=0
    # shellcheck disable=SC2016
    { time TMPDIR=$dir/tmp "${outside[@]}" bash -c 'ulimit "$1" "$2"; shift 2; exec "$@"' - "$option" "$value" \
        "${command[@]}" >"$at.out" 2>"$at.err"; } 2>"$at.time" || code=$?
    local busy
    busy=$(tail -n 1 "$at.time" | awk '{ print $1 + $2 }')
    if [ "$code" -gt 2 ]; then
        echo "FAILED: $name: exit code $code (124 and 137: it hung; 134 and 139: it crashed)"
    elif [ "$code" -ne 0 ] && ! grep -Eqs 'ulimit|RLIMIT|Too many open files|cannot start a thread' "$at.out" "$at.err"; then
        echo "FAILED: $name: exit code $code, and no message names the limit"
    elif [ "${busy%.*}" -ge "$BUSY" ]; then
        echo "FAILED: $name: $busy s of processor time"
    else
        echo "ok: $name: exit code $code"
        return
    fi
    tail -n 3 "$at.out" "$at.err" | cut -c1-400
}
export TIMEFORMAT='%U %S'

list=()
add() {
    local option=$1 run=$2 value
    shift 2
    for value; do list+=("$option $value ${#list[@]} $run"); done
}
add -n demo "${descriptors_of_demo[@]}"
for run in "${runs[@]}"; do add -n "$run" "${descriptors[@]}"; done
if setpriv --reuid=$USERS --regid=$USERS --clear-groups true 2>/dev/null; then
    add -u demo "${threads_of_demo[@]}"
    for run in "${runs[@]}"; do add -u "$run" "${threads[@]}"; done
else
    echo "SKIPPED: limits of threads, other users are needed for them (run as root, with setpriv)"
fi
# A few at a time: most of them wait.
for item in "${list[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge 9 ]; do wait -n || true; done
    # shellcheck disable=SC2086
    one $item >>"$dir/verdicts" &
done
kill -0 "$listener"
while [ "$(jobs -rp | wc -l)" -gt 1 ]; do wait -n || true; done
[ -z "${VERBOSE:-}" ] || sort "$dir/verdicts"
if grep -q FAILED "$dir/verdicts"; then
    grep -v '^ok' "$dir/verdicts"
    exit 1
fi
echo "${#list[@]} runs under limits: $(grep -c 'exit code 0' "$dir/verdicts") work, the others say which limit stops them"
