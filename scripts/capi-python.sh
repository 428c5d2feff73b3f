#!/usr/bin/env bash
# Tests the Python module and runs its examples, whose output is compared with the `text` block at their head.
#
#   scripts/capi-python.sh FOLDER    FOLDER has libfabric_gossip.so
set -euo pipefail
library=$(realpath "${1:?the folder of the library}")
cd "$(dirname "$0")/.."
tool=$(realpath "${CARGO_TARGET_DIR:-target}")/release/fabric-gossip
python=${PYTHON:-python3}

# 3.9 is the first that has what the module is written with.
if ! $python -c 'import sys, ctypes; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    echo "SKIPPED: the Python module, $python is missing or older than 3.9"
    exit 0
fi
orgs=$(mktemp -d)
trap 'rm -rf "$orgs"' EXIT
"$tool" crypto "$orgs" --orgs 2 --peers 2 >/dev/null
export FABRIC_GOSSIP_LIBRARY=$library/libfabric_gossip.so FABRIC_GOSSIP_TOOL=$tool PYTHONDONTWRITEBYTECODE=1

for test in examples/python/test_*.py; do
    timeout 300 "$python" "$test"
done
for example in examples/python/*.py; do
    case $example in */test_*) continue ;; esac
    said=$(sed -n '/^```text$/,/^```$/p' "$example" | sed -e '1d;$d')
    printed=$(timeout 60 "$python" "$example" "$orgs")
    if ! diff <(echo "$said") <(echo "$printed"); then
        echo "capi: $example does not print what it says (< said, > printed)" >&2
        exit 1
    fi
    echo "capi: $example prints what it says"
done
