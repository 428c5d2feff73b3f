# Sourced by the scripts, in the root of the repository. Sets `version`, that of Cargo.toml, and `abi`, the part of it that is
# in the SONAME: docs/releasing.md.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
case $version in
0.*) abi=${version%.*} ;;
*) abi=${version%%.*} ;;
esac
