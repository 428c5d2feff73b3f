#!/usr/bin/env bash
# Carries out the steps of docs/releasing.md up to the upload, for the version in Cargo.toml.
#
#   scripts/release.sh check      compare the places that have the version: seconds
#   scripts/release.sh rehearse   make everything that is published, without the conditions of a release and the tests
#   scripts/release.sh prepare    check the conditions, run all tests, make everything, and print the commands for the upload
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/version.sh
cargo=${CARGO:-cargo}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
files=$target/package
IFS=. read -r major minor patch <<<"$version"
failed=

wrong() { echo "release: $1" >&2 && failed=1; }

# same FILE PATTERN...: a line of the file is exactly the pattern.
same() {
    local file=$1 line
    shift
    for line in "$@"; do
        grep -qxF -- "$line" "$file" || wrong "$file does not have the line: $line"
    done
}

check() {
    [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || wrong "Cargo.toml has the version '$version': expected three numbers"
    for file in cli capi; do
        grep -q "version = \"$version\", path = \"..\"" $file/Cargo.toml || wrong "$file/Cargo.toml depends on another version"
    done
    same bindings/python/pyproject.toml "version = \"$version\""
    same bindings/python/fabric_gossip/_c.py "MAJOR, MINOR = $major, $minor"
    same capi/include/fabric_gossip.h "#define GOSSIP_VERSION_MAJOR $major" "#define GOSSIP_VERSION_MINOR $minor" \
        "#define GOSSIP_VERSION_PATCH $patch"
    same CHANGELOG.md "## Unreleased"
    grep -qE "^## $version( - [0-9]{4}-[0-9]{2}-[0-9]{2})?$" CHANGELOG.md || wrong "CHANGELOG.md has no section $version"
    $cargo metadata --locked --no-deps --format-version 1 >/dev/null || wrong "Cargo.lock is out of date"
    [ -z "$failed" ] || exit 1
    echo "release: all files have the version $version"
}

# crates.io and PyPI show this address for good: a published version cannot be changed.
repository_is_named() {
    local address file
    address=$(sed -n 's|^repository = "\(https://.*\)"$|\1|p' Cargo.toml)
    if [ -z "$address" ]; then
        wrong "Cargo.toml does not name the repository: set 'repository' in [workspace.package] to its https:// address"
    fi
    for file in Cargo.toml cli/Cargo.toml capi/Cargo.toml; do same "$file" "repository.workspace = true"; done
    same bindings/python/pyproject.toml "[project.urls]" "Repository = \"${address:-https://...}\""
}

# What must hold before a release, and cannot hold all the time.
conditions() {
    repository_is_named
    grep -qxE "## $version - $(date -u +%F)" CHANGELOG.md || wrong "CHANGELOG.md: date the section, ## $version - $(date -u +%F)"
    [ -z "$(sed -n '/^## Unreleased$/,/^## [0-9]/p' CHANGELOG.md | grep '^-' || true)" ] ||
        wrong "CHANGELOG.md has lines under Unreleased: move them to the section $version"
    [ -z "$(git status --porcelain)" ] || wrong "the working tree has changes: commit them"
    ! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || wrong "the tag v$version exists"
    [ -z "$failed" ] || exit 1
}

make_files() {
    rm -rf "$files"
    scripts/package.sh
    git archive --format=tar.gz --prefix="fabric-gossip-$version/" -o "$files/fabric-gossip-$version.tar.gz" HEAD
    cp THIRD-PARTY.txt "$files"
    (cd "$files" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >SHA256SUMS)
    echo "release: the files are in $files"
    cat "$files/SHA256SUMS"
}

upload() {
    cat <<EOF
release: $version is ready. To publish it:
  git tag -s v$version -m "fabric-gossip $version" && git push origin v$version
  cargo publish -p fabric-gossip && cargo publish -p fabric-gossip-cli && cargo publish -p fabric-gossip-capi
  twine upload $files/fabric_gossip-$version.tar.gz
  attach the files of $files and the section of CHANGELOG.md to the release page of the forge
EOF
}

case ${1:-} in
check) check ;;
rehearse) check && make_files ;;
prepare)
    export STRICT=1
    check
    conditions
    make test
    make_files
    upload
    ;;
*) echo "usage: scripts/release.sh check | rehearse | prepare" >&2 && exit 2 ;;
esac
