#!/usr/bin/env bash
# Builds the Debian packages in the folder FOLDER, with dpkg's tools:
#
#   fabric-gossip            the tool, its man pages and completions, and the service fabric-gossip-peer
#   libfabric-gossip<ABI>    the shared library
#   libfabric-gossip-dev     headers, the static library, files for pkg-config and CMake
#
#   scripts/deb.sh FOLDER
#
# TRANSPORT chooses the transports as for `make install`; DEBFULLNAME and DEBEMAIL name the maintainer.
set -euo pipefail
output=$(realpath -m "${1:?the folder for the packages}")
cd "$(dirname "$0")/.."
. scripts/version.sh

architecture=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
maintainer="${DEBFULLNAME:-fabric-gossip maintainers} <${DEBEMAIL:-root@$(hostname)}>"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
all=$work/all
umask 022

DESTDIR=$all PREFIX=/usr LIBDIR=/usr/lib/$multiarch SYSCONFDIR=/etc UNITDIR=/lib/systemd/system scripts/install.sh
libdir=usr/lib/$multiarch
# Not before: build scripts depend on it, and would run again after each commit.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
library=libfabric-gossip$abi
# Where Debian's zsh looks.
mv "$all/usr/share/zsh/site-functions" "$all/usr/share/zsh/vendor-completions"
find "$all/usr/share/man" -type f -exec gzip -9n {} +
chmod 644 "$all/$libdir"/libfabric_gossip.so.*.*.*
strip --strip-unneeded "$all/usr/bin/fabric-gossip" "$all/$libdir"/libfabric_gossip.so.*.*.*

# move PACKAGE PATH...: moves files of the installation into a package.
move() {
    local root=$work/$1 path
    shift
    for path in "$@"; do
        mkdir -p "$root/$(dirname "$path")"
        mv "$all/$path" "$root/$path"
    done
}
documentation=usr/share/doc/fabric-gossip
move fabric-gossip usr/bin usr/share/man usr/share/bash-completion usr/share/zsh usr/share/fish lib/systemd etc \
    $documentation/metrics.md $documentation/fabric-gossip.json $documentation/alerts.yml
move "$library" "$libdir/libfabric_gossip.so.$abi" "$libdir/libfabric_gossip.so.$version"
move libfabric-gossip-dev usr/include "$libdir"

# dependencies FILE...: the packages that executables and libraries need.
dependencies() {
    mkdir -p "$work/debian"
    printf 'Source: fabric-gossip\n\nPackage: fabric-gossip\nArchitecture: any\n' >"$work/debian/control"
    (cd "$work" && dpkg-shlibdeps -O "$@") | sed -n 's/^shlibs:Depends=//p'
}

# pack PACKAGE SECTION DEPENDS SUMMARY DESCRIPTION
pack() {
    local root=$work/$1 doc=$work/$1/usr/share/doc/$1
    mkdir -p "$root/DEBIAN" "$doc"
    {
        printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
        printf 'Upstream-Name: fabric-gossip\n\nFiles: *\nCopyright: 2026 the authors of fabric-gossip\nLicense: Apache-2.0\n'
        printf ' The text is in /usr/share/common-licenses/Apache-2.0.\nComment:\n'
        printf ' THIRD-PARTY.txt.gz has the licences of the code of others in the binaries.\n'
    } >"$doc/copyright"
    gzip -9nc THIRD-PARTY.txt >"$doc/THIRD-PARTY.txt.gz"
    gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
    # The time of the commit: the same sources give the same package.
    printf 'fabric-gossip (%s-1) unstable; urgency=medium\n\n  * Release %s: see changelog.gz.\n\n -- %s  %s\n' \
        "$version" "$version" "$maintainer" "$(date -Ru -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.Debian.gz"
    cat >"$root/DEBIAN/control" <<EOF
Package: $1
Source: fabric-gossip
Version: $version-1
Architecture: $architecture
Maintainer: $maintainer
Section: $2
Priority: optional
Installed-Size: $(du -ks --apparent-size --exclude=DEBIAN "$root" | cut -f1)
Depends: $3
Description: $4
$(fold -s -w 76 <<<"$5" | sed 's/^/ /; s/ *$//')
EOF
    (cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    mkdir -p "$output"
    dpkg-deb --root-owner-group --build "$root" "$output/$1_$version-1_$architecture.deb"
}

mkdir -p "$work/fabric-gossip/DEBIAN" "$work/$library/DEBIAN"
echo /etc/fabric-gossip/peer.env >"$work/fabric-gossip/DEBIAN/conffiles"
install -m 755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$work/fabric-gossip/DEBIAN"
echo "activate-noawait ldconfig" >"$work/$library/DEBIAN/triggers"
echo "libfabric_gossip $abi $library (>= $version)" >"$work/$library/DEBIAN/shlibs"

pack fabric-gossip net "$(dependencies "$work/fabric-gossip/usr/bin/fabric-gossip"), passwd" \
    "gossip peer of Hyperledger Fabric networks, and its diagnostic tool" \
    "Reports whether a peer answers, who it is, whether it accepts us, and whom it knows; runs a node as a service."
pack "$library" libs "$(dependencies "$work/$library/$libdir/libfabric_gossip.so.$version")" \
    "gossip networking of Hyperledger Fabric: shared library" \
    "Opens authenticated gRPC streams to peers and exchanges signed gossip messages, on OS threads."
pack libfabric-gossip-dev libdevel "$library (= $version-1), libssl-dev" \
    "gossip networking of Hyperledger Fabric: development files" \
    "Headers for C and C++, the static library, and files for pkg-config and CMake."
