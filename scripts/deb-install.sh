#!/usr/bin/env bash
# Installs Debian packages in a layer above the root file system, checks them, and removes them. Runs in a mount namespace, as
# root; scripts/package.sh calls it. Nothing of it remains.
#
#   scripts/deb-install.sh FOLDER PACKAGE...   FOLDER is empty but for the packages
set -euo pipefail
folder=$1
shift
. "$(dirname "$0")/skip.sh"
packages=$(basename -a "$@")
mkdir "$folder/memory"
# The upper layer is on another file system than the root.
mount -t tmpfs tmpfs "$folder/memory"
mkdir "$folder/memory/upper" "$folder/memory/work" "$folder/memory/root"
root=$folder/memory/root
if ! mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/memory/upper,workdir=$folder/memory/work" "$root" 2>/dev/null; then
    skip "the installation of the Debian packages" "overlayfs is not available"
    exit 0
fi
# The commands of docs/installing.md are run where they expect the packages.
cargo=${CARGO:-cargo}
install=$($cargo xtask block deb-install)
service=$($cargo xtask block service)
mkdir -p "$root/clone/target/package"
cp "$@" "$root/clone/target/package"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
# shellcheck disable=SC2086
chroot "$root" env INSTALL="$install" SERVICE="$service" sh -ec '
    export DEBIAN_FRONTEND=noninteractive
    cd /clone
    eval "$INSTALL" >/log 2>&1 || { cat /log && exit 1; }
    cd target/package
    fabric-gossip --version
    test "$(stat -c "%U:%G %a" /etc/fabric-gossip /etc/fabric-gossip/peer.env | tr "\n" " ")" = \
        "root:fabric-gossip 750 root:fabric-gossip 640 "
    ldconfig -p | grep -q "libfabric_gossip\.so\.0"
    test "$(pkg-config --modversion fabric-gossip)" = "$(dpkg-query -f "\${Version}" -W libfabric-gossip-dev | sed "s/-1$//")"
    if command -v systemd-analyze >/dev/null; then systemd-analyze verify --man=no fabric-gossip-peer.service; fi
    # The service: as its unit does, with the file permissions of the guide.
    fabric-gossip crypto /orgs --orgs 1 --peers 1 >/dev/null
    cp -r /orgs/peerOrganizations/org1.example.com/peers/peer0.org1.example.com/* /etc/fabric-gossip
    grep -qxF "#   $(echo "$SERVICE" | sed -n 1p)" /etc/fabric-gossip/peer.env
    # With the flags of the file, of which the example is in a comment.
    sed -i "s/^#PEER_FLAGS/PEER_FLAGS/" /etc/fabric-gossip/peer.env
    eval "$SERVICE" >/log 2>&1 || { cat /log && exit 1; }
    grep -q "these settings are valid" /log && grep -q "127.0.0.1:9443" /log || { cat /log && exit 1; }
    sed -i "s/^PEER_FLAGS/#PEER_FLAGS/" /etc/fabric-gossip/peer.env
    mkfifo /printed
    env -i $(grep "^[A-Z]" /etc/fabric-gossip/peer.env) CORE_PEER_LISTENADDRESS=127.0.0.1:0 \
        setpriv --reuid=65534 --regid=65534 --groups="$(getent group fabric-gossip | cut -d: -f3)" --no-new-privs \
        --bounding-set=-all timeout 60 /usr/bin/fabric-gossip peer >/printed 2>&1 &
    exec 3</printed
    read -r line <&3
    kill $!
    case $line in
    *"of Org1MSP at peer0.org1.example.com:7051"*) ;;
    *) echo "package: the service does not start: $line" >&2 && exit 1 ;;
    esac
    wait $!
    rm -r /etc/fabric-gossip/msp /etc/fabric-gossip/tls
    names=$(for file in "$@"; do dpkg-deb -f "$file" Package; done)
    dpkg --purge $names >/dev/null
    ! getent group fabric-gossip
    test ! -e /usr/bin/fabric-gossip -a ! -e /etc/fabric-gossip/peer.env
' sh $packages
umount -R "$root"
echo "package: the Debian packages are installed, work, and are purged"
