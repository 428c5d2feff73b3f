#!/usr/bin/env bash
# Holds the tests against docs/conformance.md: each row has a test named after it, or names the test that covers it, or
# is marked open. And against docs/weaknesses.md and docs/c-core.md, whose tests have to exist.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=$(grep -rhoE 'fn [a-z0-9_]+' tests src cli capi --include='*.rs' | sed 's/^fn //' | sort -u)
rows=0 open='' missing='' closed=''
while IFS='|' read -r _ row _ by _; do
    row=${row// /} by=${by// /}
    rows=$((rows + 1))
    # A test that is named has to be there, also beside one that is named after the row.
    if [ -n "$by" ] && [ "$by" != open ] && ! grep -qx "${by//\`/}" <<<"$tests"; then
        missing+=" $row"
        continue
    fi
    if grep -qE "(^|_)${row,}_" <<<"$tests"; then
        [ "$by" != open ] || closed+=" $row"
    elif [ "$by" = open ]; then
        open+=" $row"
    elif [ -z "$by" ]; then
        missing+=" $row"
    fi
done < <(grep -E '^\| [A-Z][0-9]+ \|' docs/conformance.md)

# These tables name in their last column the tests that show what they say.
claims=0
while IFS= read -r line; do
    by=${line% |} by=${by##*| } what=${line#| } what=${what:0:60}
    claims=$((claims + 1))
    named=$(grep -oE '`[a-z0-9_]+`' <<<"$by" | tr -d '`') || missing+=$'\n'"  $what: no test is named"
    for name in $named; do
        grep -qx "$name" <<<"$tests" || missing+=$'\n'"  $what: $name"
    done
done < <(grep -hE '^\| ' docs/weaknesses.md docs/c-core.md | grep -v 'Shown by')

echo "conformance: $rows rows${open:+, open:$open}, $claims claims"
[ -z "$closed" ] || echo "conformance: marked open in docs/conformance.md although a test holds them:$closed"
if [ -n "$missing" ]; then
    echo "conformance: no test for:$missing" >&2
    exit 1
fi
