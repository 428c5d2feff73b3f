#!/usr/bin/env bash
# Tests the Python module and runs its examples, whose output is compared with the `text` block at their head.
#
#   scripts/capi-python.sh FOLDER    FOLDER has libfabric_gossip.so
set -euo pipefail
library=$(realpath "${1:?the folder of the library}")
cd "$(dirname "$0")/.."
. scripts/skip.sh
tool=$(realpath "${CARGO_TARGET_DIR:-target}")/release/fabric-gossip
python=${PYTHON:-python3} cargo=${CARGO:-cargo}

# 3.9 is the first version with the language features that the module uses.
if ! $python -c 'import sys, ctypes; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    skip "the Python module" "$python is missing or older than 3.9"
    exit 0
fi
orgs=$(mktemp -d)
trap 'rm -rf "$orgs"' EXIT
"$tool" crypto "$orgs" --orgs 2 --peers 2 >/dev/null
export FABRIC_GOSSIP_LIBRARY=$library/libfabric_gossip.so FABRIC_GOSSIP_TOOL=$tool PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$PWD/bindings/python

for test in bindings/python/tests/test_*.py; do
    timeout 300 "$python" "$test"
done
# The key of bindings/python/examples/hsm.py: in a separate SoftHSM, and removed from the folder.
hsm=
for module in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so; do
    if [ -e "$module" ] && command -v softhsm2-util >/dev/null; then
        hsm=$module
        break
    fi
done
if [ -n "$hsm" ]; then
    cp -r "$orgs" "$orgs.hsm"
    trap 'rm -rf "$orgs" "$orgs.hsm"' EXIT
    mkdir "$orgs.hsm/tokens"
    printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$orgs.hsm/tokens" >"$orgs.hsm/softhsm2.conf"
    export SOFTHSM2_CONF=$orgs.hsm/softhsm2.conf PKCS11_MODULE=$hsm PKCS11_PIN=1234 PKCS11_LABEL=peer0
    keystore=$orgs.hsm/peerOrganizations/org1.example.com/peers/peer0.org1.example.com/msp/keystore
    softhsm2-util --init-token --free --label fabric --pin 1234 --so-pin 1234 >/dev/null
    softhsm2-util --token fabric --pin 1234 --label peer0 --id 01 --import "$keystore"/* >/dev/null
    rm -r "$keystore"
fi
for example in bindings/python/examples/*.py; do
    folder=$orgs
    case $example in
    */hsm.py)
        if [ -z "$hsm" ]; then
            skip "$example" "SoftHSM is not installed (apt-get install softhsm2)"
            continue
        fi
        folder=$orgs.hsm
        ;;
    esac
    timeout 60 "$python" "$example" "$folder" | $cargo xtask prints "$example"
done
