#!/usr/bin/env bash
# Builds and installs the tool with its man pages and completions, the shared and the static library, the headers, and the
# files for pkg-config and CMake. Variables:
#
#   PREFIX      where the files are used: /usr/local
#   LIBDIR      where the libraries are used: PREFIX/lib
#   SYSCONFDIR, UNITDIR   with both, also the systemd unit and its settings
#   DESTDIR     put before all paths, to install into a package's folder
#   TRANSPORT   http2, or c-core to add gRPC's C core (which needs CMake and a C++ compiler)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/version.sh
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
destdir=${DESTDIR:-}
cargo=${CARGO:-cargo}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release

case $prefix:$libdir in
/*:/*) ;;
*) echo "install: PREFIX and LIBDIR must be absolute: $prefix, $libdir" >&2 && exit 2 ;;
esac
case ${TRANSPORT:-http2} in
http2) transports=http2 private="-lssl -lcrypto -lm -ldl -lpthread" ;;
c-core) transports=http2,c-core private="-lssl -lcrypto -lstdc++ -lm -ldl -lpthread" ;;
*) echo "install: unknown TRANSPORT $TRANSPORT: expected http2 or c-core" >&2 && exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The tool twice: users get the one without the generator of the man pages.
tool() { $cargo build --release --locked -p fabric-gossip-cli --features "$transports$1"; }
tool ,man
"$target/fabric-gossip" man "$work/man"
tool ""
for shell in bash zsh fish; do
    "$target/fabric-gossip" completions $shell >"$work/$shell"
done
# Programs in the build folder link the library without a version, so that only the installed one has a SONAME.
$cargo rustc --release --locked -p fabric-gossip-capi --lib --no-default-features --features "$transports" -- \
    -C "link-arg=-Wl,-soname,libfabric_gossip.so.$abi"
$cargo xtask symbols hide "$target/libfabric_gossip.a" "$work/libfabric_gossip.a"
[ -f "$work/libfabric_gossip.a" ] || cp "$target/libfabric_gossip.a" "$work"

# put MODE FILE FOLDER [NAME]
put() { install -D -m "$1" "$2" "$destdir$3/${4:-$(basename "$2")}"; }

# fill TEMPLATE FOLDER: replaces the names between @.
fill() {
    local name
    name=$(basename "$1" .in)
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" \
        -e "s|@INCLUDE_FROM_LIBDIR@|$(realpath -ms --relative-to="$libdir" "$prefix/include")|g" \
        -e "s|@CMAKE_PRIVATE@|$(sed 's/ *-l/;/g; s/^;//; s/;pthread//' <<<"$private")|g" \
        -e "s|@PRIVATE@|$private|g" "$1" >"$work/$name"
    put 644 "$work/$name" "$2"
}

put 755 "$target/fabric-gossip" "$prefix/bin"
for page in "$work"/man/*; do put 644 "$page" "$prefix/share/man/man1"; done
put 644 "$work/bash" "$prefix/share/bash-completion/completions" fabric-gossip
put 644 "$work/zsh" "$prefix/share/zsh/site-functions" _fabric-gossip
put 644 "$work/fish" "$prefix/share/fish/vendor_completions.d" fabric-gossip.fish

put 644 capi/include/fabric_gossip.h "$prefix/include"
put 644 capi/include/fabric_gossip.hpp "$prefix/include"
put 644 "$work/libfabric_gossip.a" "$libdir"
put 755 "$target/libfabric_gossip.so" "$libdir" "libfabric_gossip.so.$version"
ln -sf "libfabric_gossip.so.$version" "$destdir$libdir/libfabric_gossip.so.$abi"
ln -sf "libfabric_gossip.so.$abi" "$destdir$libdir/libfabric_gossip.so"
fill packaging/pkgconfig/fabric-gossip.pc.in "$libdir/pkgconfig"
for file in packaging/cmake/*.in; do fill "$file" "$libdir/cmake/fabric_gossip"; done

for file in LICENSE THIRD-PARTY.txt docs/metrics.md packaging/grafana/fabric-gossip.json packaging/prometheus/alerts.yml; do
    put 644 "$file" "$prefix/share/doc/fabric-gossip"
done
if [ -n "${UNITDIR:-}" ] && [ -n "${SYSCONFDIR:-}" ]; then
    fill packaging/systemd/fabric-gossip-peer.service.in "$UNITDIR"
    put 640 packaging/systemd/peer.env "$SYSCONFDIR/fabric-gossip"
fi
echo "install: fabric-gossip $version with the transports ${transports//,/ and } is in $destdir$prefix"
