#!/usr/bin/env bash
# Takes the pictures in docs/images: the page of `survey` in both colour schemes and on a narrow screen, and the output of
# `peer`, `survey` and `handshake` on a terminal. Runs a network of two organisations in which one peer is dead, one
# unreachable, and the certificate of one about to expire. Needs Chromium, openssl, and the command script (util-linux);
# pngquant makes the pictures smaller.
#
#   scripts/screenshots.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/skip.sh
tool=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/fabric-gossip
out=$(realpath -m "${1:-docs/images}")
# The size above which a picture is too large for the repository.
limit=153600

browser=
for name in chromium chromium-browser google-chrome; do
    if command -v $name >/dev/null; then browser=$name && break; fi
done
[ -n "$browser" ] || { skip "the screenshots" "neither chromium nor google-chrome is installed" && exit 0; }
command -v script >/dev/null || { skip "the screenshots" "the command script (util-linux) is not installed" && exit 0; }
command -v openssl >/dev/null || { skip "the screenshots" "the command openssl is not installed" && exit 0; }
[ -x "$tool" ] || { echo "screenshots: the tool is not built, type: make build" >&2 && exit 1; }

work=$(mktemp -d)
processes=()
trap 'kill -KILL "${processes[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir -p "$out"
cd "$work"

# await FILE PATTERN: waits up to a minute for a line of the file that matches.
await() {
    for _ in $(seq 600); do
        if grep -q -- "$2" "$1"; then return; fi
        sleep 0.1
    done
    echo "screenshots: $1 has no line $2" >&2 && exit 1
}

"$tool" crypto net --orgs 2 --peers 7 >crypto.log
org() { echo "$work/net/peerOrganizations/org$1.example.com"; }
msp() { echo "$(org "$1")/peers/peer$2.org$1.example.com/msp"; }

# The certificate of peer2 ends in nine days.
certificate=$(echo "$(msp 1 2)"/signcerts/*.pem)
key=$(echo "$(msp 1 2)"/keystore/*)
{
    openssl x509 -x509toreq -in "$certificate" -signkey "$key" -copy_extensions copyall -out request.pem
    openssl x509 -req -in request.pem -copy_extensions copyall -days 9 -out renewed.pem \
        -CA "$(org 1)"/ca/*-cert.pem -CAkey "$(org 1)"/ca/*_sk
} 2>openssl.log || { cat openssl.log >&2 && exit 1; }
mv renewed.pem "$certificate"

# start NAME ORGANISATION PEER [FLAG]…: runs a peer, and sets `process` and `endpoint`.
start() {
    local name=$1 org=$2 peer=$3
    shift 3
    : >"$name.log"
    "$tool" peer --json --listen 127.0.0.1:0 --mspid "Org${org}MSP" --msp "$(msp "$org" "$peer")" \
        --trust-msp "Org$((3 - org))MSP=$(org $((3 - org)))/msp" --alive-interval 500ms "$@" >"$name.log" 2>"$name.err" &
    process=$!
    disown
    processes+=("$process")
    await "$name.log" '"listening"'
    endpoint=$(sed -n 's/.*"listening","endpoint":"\([^"]*\)".*/\1/p' "$name.log")
}

# page NAME FILE WIDTH HEIGHT dark|light: takes a picture of an HTML page.
page() {
    local scheme=1
    [ "$5" = light ] || scheme=0
    # Headless Chromium hangs now and then when it starts.
    local try
    for try in 1 2 3; do
        timeout --kill-after=5 20 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --disable-background-networking --disable-component-update --disable-extensions --hide-scrollbars \
            --user-data-dir="$work/profile-$1-$try" --window-size="$3,$4" --screenshot="$work/picture.png" \
            --blink-settings="preferredColorScheme=$scheme" "file://$work/$2" >browser.log 2>&1 && break
    done
    [ -f picture.png ] || { cat browser.log && echo "screenshots: $browser takes no picture of $2" && exit 1; } >&2
    if command -v pngquant >/dev/null; then
        pngquant --force --strip --output picture.png 64 picture.png
    fi
    local size
    size=$(stat -c %s picture.png)
    [ "$size" -le $limit ] || { echo "screenshots: $1.png has $size bytes, more than $limit" >&2 && exit 1; }
    mv picture.png "$out/$1.png"
    echo "screenshots: $1.png, $size bytes"
}

# terminal NAME COMMAND [SECONDS]: runs a command on a terminal of 132 columns, stops it after this time, and takes a picture
# of its output. The tool writes no control sequences but colours.
terminal() {
    local command="timeout --foreground --signal=INT ${3:-60} $2"
    script -qec "stty cols 132 rows 50; $command" /dev/null </dev/null | tr -d '\r' >output || true
    { echo "\$ ${2% 2>*}" | sed "s|$work/||g" && cat output; } >text
    local lines
    lines=$(sed 's/\x1b\[[0-9]*m//g' text | fold -w 132 | wc -l)
    {
        echo '<!doctype html><meta charset="utf-8"><style>body{margin:0;background:#15161a;color:#ddd}'
        echo 'pre{margin:16px;width:133ch;white-space:pre-wrap;word-break:break-all;font:14px/20px "DejaVu Sans Mono",monospace}'
        echo '.c31{color:#ff7b72}.c32{color:#7ee787}.c33{color:#e3b341}.c2{color:#8b949e}</style><pre>'
        sed -e 's/&/\&amp;/g; s/</\&lt;/g' \
            -e 's/\x1b\[\(2\|3[123]\)m/<span class="c\1">/g; s/\x1b\[0m/<\/span>/g' text
    } >text.html
    if grep -q $'\x1b' text.html; then
        echo "screenshots: $1 has a control sequence that is not a colour" >&2 && exit 1
    fi
    page "$1" text.html 1160 $((lines * 20 + 32)) dark
}

start peer0 1 0
bootstrap=$endpoint
start peer1 1 1 --bootstrap "$bootstrap" --channel mychannel
start peer2 1 2 --bootstrap "$bootstrap" --channel mychannel
start peer3 1 3 --bootstrap "$bootstrap"
dead=$process
# A list of members, of whom this number are alive.
alive() { echo "\"alive\":\\[\\({[^}]*},\\?\\)\\{$1\\}\\]"; }
await peer0.log "$(alive 3)"
export CORE_PEER_LOCALMSPID=Org1MSP TERM=xterm-256color PATH=$(dirname "$tool"):$PATH
unset NO_COLOR

# The peer sees another one die.
export CORE_PEER_MSPCONFIGPATH
CORE_PEER_MSPCONFIGPATH=$(msp 1 4)
{ await peer0.log "$(alive 4)" && kill -KILL "$dead"; } &
terminal peer "fabric-gossip peer --quiet --bootstrap $bootstrap --channel mychannel" 8
wait $!
CORE_PEER_MSPCONFIGPATH=$(msp 1 6)
terminal handshake "fabric-gossip handshake $bootstrap"

start peer5 1 5 --bootstrap "$bootstrap" --endpoint 127.0.0.1:9
for log in peer0 peer1 peer2; do await $log.log '127.0.0.1:9"'; done
start other 2 0
terminal survey "fabric-gossip survey $bootstrap $endpoint --trust-msp Org2MSP=$(org 2)/msp --html survey.html 2>/dev/null"
page survey-light survey.html 1200 1300 light
page survey-dark survey.html 1200 1300 dark
page survey-narrow survey.html 500 1300 light
# The part below the map, which is a separate picture.
hidden='section[aria-labelledby=findings],section[aria-labelledby=map],h1,nav{display:none}'
sed "s|</head>|<style>$hidden</style></head>|" survey.html >tables.html
page survey-tables tables.html 1200 1330 light
